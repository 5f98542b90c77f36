from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import CropSpec
from deepfake_edge.training.feeding.augment import Change, change_window, draw_change
from deepfake_edge.training.feeding.face_window import FaceWindow, blend_window, cut_window
from deepfake_edge.training.feeding.options import Augmentation
from deepfake_edge.training.self_blended import Tone

BOX = (22.0, 18.0, 62.0, 66.0)
POINTS = ((34.0, 38.0), (50.0, 38.0), (42.0, 48.0), (35.0, 56.0), (49.0, 56.0))
CROP = CropSpec(32, margin=1.2, channel_order="bgr", mean=(0.0,) * 3, scale=(1.0,) * 3)
EACH = {
    "crop": Change(shift_xy=(0.05, -0.04), grow=1.05),
    "flip": Change(flip=True),
    "turn": Change(turn_deg=8.0),
    "colour": Change(tone=Tone(shift_bgr=(9.0, 4.0, 7.0), contrast=1.1, gamma=1.2, hue=3, saturation=0.9)),
    "exposure": Change(tone=Tone(exposure=0.6)),
    "shrink": Change(tone=Tone(shrink=2.5)),
    "sharpen": Change(tone=Tone(sharpen=1.2)),
    "blur": Change(blur=0.03),
    "noise": Change(noise=6.0),
    "jpeg": Change(quality=40),
    "video": Change(crf=36),
}


def picture(seed=0, height=84, width=90):
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [110 + 60 * np.sin(rows / (5 + band)) * np.cos(columns / (4 + band)) for band in range(3)]
    return np.clip(np.stack(waves, 2) + random.normal(0, 5, (height, width, 3)), 0, 255).astype(np.uint8)


def window(count=4):
    """The same picture all along, so that what differs between frames was made by the change."""
    pixels = picture()
    pixels.flags.writeable = False
    return FaceWindow((pixels,) * count, (BOX,) * count, (POINTS,) * count)


def only(name):
    return replace(Augmentation.none(), **{name: 1.0, "strength": 1.0})


def drawn(augment, seed=0):
    return draw_change(np.random.default_rng(seed), augment)


@pytest.mark.parametrize("name", EACH)
def test_every_change_shows_and_is_the_same_in_all_frames(name):
    if name == "video":
        pytest.importorskip("av")
    before, after = cut_window(window(), CROP), cut_window(change_window(window(), EACH[name]), CROP)
    assert np.abs(after - before).mean() > 0.5
    spread = np.abs(after - after[:1]).max()
    # Noise is new in each frame, and a codec spends its bits as it likes.
    assert spread > 0 if name == "noise" else spread <= (40 if name == "video" else 0)


@pytest.mark.parametrize("name", EACH)
def test_a_rate_of_one_draws_that_change_alone(name):
    still = drawn(Augmentation.none())
    changes = [drawn(only(name), seed) for seed in range(20)]
    differing = {
        item.name
        for change in changes
        for item in fields(Change)
        if getattr(change, item.name) != getattr(still, item.name)
    }
    wanted = {"crop": {"shift_xy", "grow"}, "turn": {"turn_deg"}, "jpeg": {"quality"}, "video": {"crf"}}
    wanted |= {"colour": {"tone"}, "exposure": {"tone"}, "shrink": {"tone"}, "sharpen": {"tone"}}
    assert differing - {"noise_seed"} == wanted.get(name, {name})


def test_no_augmentation_changes_nothing():
    changed = change_window(window(), drawn(Augmentation.none()))
    assert all(np.array_equal(*pair) for pair in zip(changed.pictures, window().pictures, strict=True))
    assert changed.boxes == window().boxes


def test_strength_widens_the_ranges():
    def reach(strength):
        changes = [
            drawn(Augmentation(strength, crop=1.0, exposure=1.0, turn=1.0, jpeg=1.0, video=1.0), seed)
            for seed in range(200)
        ]
        return (
            max(abs(change.shift_xy[0]) for change in changes),
            *(end(change.grow for change in changes) for end in (min, max)),
            *(end(change.tone.exposure for change in changes) for end in (min, max)),
            max(abs(change.turn_deg) for change in changes),
            100 - min(change.quality for change in changes),
            max(change.crf for change in changes),
        )

    assert reach(1.0) == pytest.approx((0.06, 0.909, 1.1, 0.533, 1.17, 10.0, 60, 40), rel=0.05)
    assert reach(0.5) == pytest.approx((0.03, 0.953, 1.049, 0.73, 1.08, 5.0, 30, 29), rel=0.05)
    assert reach(2.0) == pytest.approx((0.12, 0.826, 1.21, 0.284, 1.37, 20.0, 99, 51), rel=0.05)


def test_a_mirrored_window_is_the_mirrored_crop():
    plain, mirrored = (cut_window(change_window(window(), change), CROP) for change in (Change(), Change(flip=True)))
    assert np.array_equal(mirrored, plain[:, :, ::-1])


def test_a_turn_keeps_the_face_in_its_box():
    turned = cut_window(change_window(window(), Change(turn_deg=10.0)), replace(CROP, margin=0.15))
    assert np.abs(turned - cut_window(window(), replace(CROP, margin=0.15))).mean() < 6


def test_noise_has_the_strength_that_it_is_drawn_with():
    grey = FaceWindow((np.full((80, 80, 3), 128, np.uint8),) * 2, ((10.0, 10.0, 70.0, 70.0),) * 2, (None, None))
    noisy = change_window(grey, Change(noise=6.0, noise_seed=3)).pictures
    assert np.std(noisy[0]) == pytest.approx(6.0, rel=0.05)
    assert np.mean(noisy[0]) == pytest.approx(128, abs=0.3)
    assert not np.array_equal(noisy[0], noisy[1])


def test_video_takes_pictures_of_differing_sizes():
    pytest.importorskip("av")
    shapes = ((84, 90), (83, 91), (13, 9))
    boxes = (BOX, (23.0, 17.0, 62.0, 66.0), (-3.0, 2.0, 8.0, 11.0))
    window = FaceWindow(tuple(picture(0, *shape) for shape in shapes), boxes, (None,) * 3)
    coded = change_window(window, Change(crf=18))
    assert [pixels.shape[:2] for pixels in coded.pictures] == list(shapes)
    assert coded.boxes == boxes
    assert np.abs(coded.pictures[0].astype(int) - window.pictures[0]).mean() < 8


def test_a_box_stays_where_it_meets_the_picture():
    edge = FaceWindow((picture(),), ((-30.0, 10.0, 2.0, 40.0),), (None,))
    assert change_window(edge, Change(shift_xy=(-0.06, 0.0))).boxes == edge.boxes
    assert cut_window(change_window(edge, Change(shift_xy=(0.06, 0.0), grow=1.1)), CROP).shape == (
        1,
        32,
        32,
        3,
    )


def test_a_self_blend_is_the_same_in_all_frames_but_for_its_trembling():
    real = window()
    fake = blend_window(real, np.random.default_rng(1), 1.5)
    frames = [pixels.astype(int) for pixels in fake.pictures]
    trembling = max(np.abs(frame - frames[0]).mean() for frame in frames)
    assert 0 < trembling < np.abs(frames[0] - real.pictures[0]).mean() / 3
    assert fake.boxes == real.boxes


def test_a_blend_takes_the_first_landmarks_that_there_are():
    bare = replace(window(), landmarks=(None,) * 4)
    late = replace(window(), landmarks=(None, None, POINTS, None))

    def blends(shown):
        return [blend_window(shown, np.random.default_rng(seed), 1.0).pictures[0] for seed in range(12)]

    assert all(np.array_equal(*pair) for pair in zip(blends(late), blends(window()), strict=True))
    assert not all(np.array_equal(*pair) for pair in zip(blends(late), blends(bare), strict=True))


@pytest.mark.parametrize(("name", "value"), [("flip", 1.5), ("strength", 2.5), ("noise", -0.1)])
def test_rates_out_of_range_are_refused(name, value):
    with pytest.raises(InvalidInput, match=f"augmentation: {name}"):
        Augmentation(**{name: value})
