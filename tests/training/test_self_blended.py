from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_edge.data import Face
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.self_blended import Tone, apply_tone, draw_blend, draw_tone, self_blend

BOX = (60.0, 40.0, 140.0, 150.0)
LANDMARKS = ((80.0, 80.0), (120.0, 80.0), (100.0, 105.0), (84.0, 125.0), (116.0, 125.0))
FACE = Face(BOX, 0.9, LANDMARKS)


def picture(seed=0, height=200, width=220):
    """Smooth shapes with some texture, so that a shift and a blur both show."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [100 + 60 * np.sin(rows / (9 + band)) * np.cos(columns / (7 + 2 * band)) for band in range(3)]
    return np.clip(np.stack(waves, 2) + random.normal(0, 6, (height, width, 3)), 0, 255).astype(np.uint8)


def blend_of(seed, face=FACE):
    return draw_blend(np.random.default_rng(seed), face)


@pytest.mark.parametrize("seed", range(8))
def test_only_the_masked_part_of_the_face_is_the_changed_copy(seed):
    real = picture()
    kept = real.copy()
    blend = blend_of(seed)
    fake, mask = self_blend(real, BOX, replace(blend, tone_inside=True))
    assert np.array_equal(real, kept)
    assert fake.shape == real.shape
    assert fake.dtype == np.uint8
    assert mask.shape == real.shape[:2]
    assert np.array_equal(fake[mask == 0], real[mask == 0])
    assert np.abs(fake[mask > 0.4].astype(int) - real[mask > 0.4]).mean() > 1


@pytest.mark.parametrize("seed", range(8))
def test_an_outer_tone_leaves_what_a_full_mask_covers(seed):
    real = picture()
    still = replace(blend_of(seed), tone_inside=False, scale_xy=(1.0, 1.0), shift_xy=(0.0, 0.0))
    fake, mask = self_blend(real, BOX, replace(still, mask=(still.mask > 0).astype(np.float32)))
    assert np.array_equal(fake[mask == 1], real[mask == 1])
    around = (slice(10, 180), slice(40, 160))
    ring = mask[around] == 0
    assert not np.array_equal(fake[around][ring], real[around][ring])


@pytest.mark.parametrize("seed", range(8))
def test_an_outer_tone_has_no_edge_but_the_masks(seed):
    blend = replace(blend_of(seed), tone_inside=False)
    fake, mask = self_blend(picture(), BOX, blend)
    assert np.array_equal(fake[mask == 0], apply_tone(picture(), blend.tone)[mask == 0])


@pytest.mark.parametrize("landmarks", [LANDMARKS, None])
def test_masks_lie_within_the_crop_that_shows_their_border(landmarks):
    for seed in range(40):
        _, mask = self_blend(picture(), BOX, blend_of(seed, Face(BOX, 0.9, landmarks)))
        rows, columns = np.nonzero(mask > 0.1)
        assert 0.45 < mask.max() <= 1
        assert mask.min() >= 0
        assert len(rows) > 0.08 * (BOX[2] - BOX[0]) * (BOX[3] - BOX[1])
        middle, reach = (100, 95), (0.65 * 80, 0.65 * 110)
        assert np.abs(columns - middle[0]).max() <= reach[0]
        assert np.abs(rows - middle[1]).max() <= reach[1]


def test_chance_comes_from_the_seed_alone():
    first, same, other = (self_blend(picture(), BOX, blend_of(seed))[0] for seed in (3, 3, 4))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_a_clip_holds_still_but_for_its_trembling():
    blend = blend_of(5)
    steady = [self_blend(picture(), BOX, blend)[0] for _ in range(2)]
    assert np.array_equal(*steady)
    tremble = np.random.default_rng(1)
    shaken = [self_blend(picture(), BOX, blend, tremble)[0].astype(int) for _ in range(2)]
    assert not np.array_equal(*shaken)
    within_a_clip = np.abs(shaken[0] - shaken[1]).mean()
    between_clips = np.abs(shaken[0] - self_blend(picture(), BOX, blend_of(6))[0]).mean()
    assert within_a_clip < between_clips / 2


@given(
    st.floats(-300, 400), st.floats(-300, 400), st.floats(0.5, 500), st.floats(0.5, 500), st.integers(0, 2**32 - 1)
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_any_box_that_meets_the_picture_can_be_blended(left, top, width, height, seed):
    box = (left, top, left + width, top + height)
    real = picture(height=60, width=80)
    if left < 80 and top < 60 and left + width > 0 and top + height > 0:
        fake, mask = self_blend(real, box, blend_of(seed), np.random.default_rng(seed))
        assert fake.shape == real.shape
        assert 0 <= mask.min() <= mask.max() <= 1


def test_a_box_outside_the_picture_is_refused():
    with pytest.raises(InvalidInput, match="outside a picture of 220 x 200"):
        self_blend(picture(), (900.0, 10.0, 950.0, 60.0), blend_of(0))


def test_no_tone_changes_nothing():
    assert np.array_equal(apply_tone(picture(), Tone()), picture())


@pytest.mark.parametrize(
    "tone",
    [
        Tone(shift_bgr=(9.0, 0.0, 0.0)),
        Tone(contrast=0.8),
        Tone(gamma=1.3),
        Tone(hue=8),
        Tone(saturation=0.5),
        Tone(shrink=3),
        Tone(sharpen=0.8),
        Tone(quality=30),
    ],
)
def test_every_part_of_a_tone_shows(tone):
    changed = apply_tone(picture(), tone)
    assert changed.shape == picture().shape
    assert not np.array_equal(changed, picture())


def test_shrinking_takes_detail_and_sharpening_adds_it():
    def detail(pixels):
        return float(np.abs(np.diff(pixels.astype(int), axis=1)).mean())

    blurred, sharp = (detail(apply_tone(picture(), tone)) for tone in (Tone(shrink=3), Tone(sharpen=0.8)))
    assert blurred < 0.8 * detail(picture()) < detail(picture()) < sharp


def test_drawn_tones_stay_within_their_ranges():
    random = np.random.default_rng(0)
    tones = [draw_tone(random) for _ in range(200)]
    assert max(abs(value) for tone in tones for value in tone.shift_bgr) <= 20
    assert {(tone.shrink > 1, tone.sharpen > 0, tone.quality is not None) for tone in tones} == {
        (False, False, False), (True, False, False), (False, True, False), (False, False, True)
    }  # fmt: skip
    assert draw_tone(np.random.default_rng(0), strength=0.0).shift_bgr == (0.0, 0.0, 0.0)
