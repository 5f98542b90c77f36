"""What calibrates and what judges share nothing, come from the user's own files, and are the same every time."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import pytest

from deepfake_edge.choices import choose_finder
from deepfake_edge.data import Face
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.spec import ClipSpec, CropSpec
from deepfake_edge.training import calibration, parts
from deepfake_edge.training.calibration import make_split
from deepfake_edge.training.footage import clip_crops, spread, spread_crops

CROP = CropSpec(size_px=16)
PER_FRAME = ClipSpec()
CLIPS = ClipSpec(frames=5, sample_fps=25.0)


class Bright:
    """Finds one face in whatever is not dark: these tests are of what is done with faces, not of finding them."""

    def find(self, frames):
        face = Face((8.0, 8.0, 24.0, 24.0), 1.0)
        return [[face] if frame.pixels.mean() > 40 and frame.width > 20 else [] for frame in frames]


@pytest.fixture(autouse=True)
def _bright(monkeypatch):
    monkeypatch.setattr(calibration, "choose_finder", lambda _: (None, Bright))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("clip") / "a.mp4")


def film(path, brighter=0, bright=True):
    """100 small pictures of noise, no two alike, at 25 a second."""
    random = np.random.default_rng(4 + brighter)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (64, 48))
    for _ in range(100):
        coarse = random.integers(60, 200, (6, 8, 3), dtype=np.uint8) if bright else np.zeros((6, 8, 3), np.uint8)
        writer.write(cv2.resize(coarse, (64, 48)))
    writer.release()
    return path


def pictures(folder, count, alike=False):
    """Flat pictures, each of a grey of its own (8, 9, 10 ...); no face is found in them, so they are ready crops."""
    folder.mkdir(exist_ok=True)
    for place in range(count):
        picture = np.full((20, 20, 3), 8 if alike else 8 + place % 240, np.uint8)
        picture[:10] += np.uint8(0 if alike else 40 * (place // 240) % 240)
        cv2.imwrite(str(folder / f"p{place:04}.png"), picture)
    return folder


def bytes_of(crops):
    return {hashlib.sha256(crop.tobytes()).digest() for crop in crops}


def shared(split):
    return bytes_of(split.calibration.crops) & bytes_of(split.held_out.crops)


def test_every_third_picture_is_held_out_in_name_order(tmp_path):
    split = make_split(CROP, PER_FRAME, pictures(tmp_path / "p", 12))
    assert split.calibration.crops[:, 12, 8, 0].tolist() == [8, 9, 11, 12, 14, 15, 17, 18]
    assert split.held_out.crops[:4, 12, 8, 0].tolist() == [10, 13, 16, 19]
    assert not shared(split)
    assert split.calibration.windows.shape == (8, 1)


def test_pictures_are_not_varied_to_calibrate_and_too_few_are_told(tmp_path):
    split = make_split(CROP, PER_FRAME, pictures(tmp_path / "p", 12))
    assert len(split.calibration.crops) == 8
    assert any("calibrated on 8 crops, wanted at least 200" in warning for warning in split.warnings)
    assert any("judged by 4 held-out windows" in warning for warning in split.warnings)
    assert "60 variations" in split.held_out.origin


def test_many_pictures_are_enough_and_no_more_than_needed(tmp_path):
    split = make_split(CROP, PER_FRAME, pictures(tmp_path / "p", 1000))
    assert (len(split.calibration.crops), len(split.held_out.crops)) == (512, 256)
    assert len(bytes_of(split.calibration.crops)) == 512
    assert not shared(split)
    assert [warning for warning in split.warnings if "wanted" in warning] == []


def test_clips_and_pictures_share_what_calibrates(tmp_path):
    for place, name in enumerate("abc"):
        film(tmp_path / f"{name}.mp4", brighter=place)
    split = make_split(CROP, PER_FRAME, pictures(tmp_path, 700))
    flat = sum(crop.std(axis=(0, 1)).max() < 25 for crop in split.calibration.crops)
    assert len(split.calibration.crops) == 512
    assert 150 < flat < 450
    assert not shared(split)


def test_the_same_folder_gives_the_same_crops(tmp_path, clip):
    folder = pictures(tmp_path / "p", 30)
    (folder / "clip.mp4").write_bytes(clip.read_bytes())
    first, second = (make_split(CROP, PER_FRAME, folder) for _ in range(2))
    assert first.calibration.crops.tobytes() == second.calibration.crops.tobytes()
    np.testing.assert_array_equal(first.held_out.crops, second.held_out.crops)
    np.testing.assert_array_equal(first.held_out.windows, second.held_out.windows)


def test_the_same_picture_under_two_names_never_stands_on_both_sides(tmp_path):
    folder = pictures(tmp_path / "p", 9)
    # p0002 is held out, p0000 calibrates.
    (folder / "p0000.png").write_bytes((folder / "p0002.png").read_bytes())
    split = make_split(CROP, PER_FRAME, folder)
    assert not shared(split)
    assert len(split.calibration.crops) == 5


def test_nothing_but_copies_is_refused(tmp_path):
    with pytest.raises(InvalidInput, match="held out as well"):
        make_split(CROP, PER_FRAME, pictures(tmp_path / "p", 6, alike=True))


def test_one_clip_is_parted_in_time_with_a_gap(clip):
    split = make_split(CROP, CLIPS, clip)
    whole = [crop.tobytes() for crop in clip_crops(clip, CROP, CLIPS, Bright(), 1000)]
    places = [whole.index(crop.tobytes()) for crop in split.calibration.crops]
    held = [whole.index(crop.tobytes()) for crop in split.held_out.crops if crop.tobytes() in whole]
    assert not shared(split)
    assert places[0] == 0
    assert places == sorted(places)
    assert held[-1] == len(whole) - 1
    assert min(held) - max(places) > CLIPS.frames
    # As many windows as there are crops to calibrate on.
    real = (split.held_out.windows < len(held)).all(axis=1).sum()
    assert real == len(places) > 30


def test_three_clips_are_parted_by_file(tmp_path):
    for place, name in enumerate("abc"):
        film(tmp_path / f"{name}.mp4", brighter=place)
    split = make_split(CROP, CLIPS, tmp_path)
    third = bytes_of(clip_crops(tmp_path / "c.mp4", CROP, CLIPS, Bright(), 1000))
    assert len(third) == 100
    assert bytes_of(split.held_out.crops) == third
    assert not shared(split)
    assert (len(split.calibration.crops), len(split.held_out.windows)) == (200, 96)
    assert split.warnings == (
        "lower precisions are judged by 96 held-out windows, wanted 200: give more or longer clips",
    )


def test_clips_that_show_no_face_are_named_and_cost_the_others_nothing(tmp_path):
    film(tmp_path / "a.mp4")
    film(tmp_path / "b.mp4", bright=False)
    film(tmp_path / "c.mp4", bright=False)
    (tmp_path / "d.mp4").write_bytes(b"not a clip")
    split = make_split(CROP, CLIPS, tmp_path)
    assert not shared(split)
    assert any("too few frames with a face: b.mp4, c.mp4" in warning for warning in split.warnings)
    assert any("cannot be read: d.mp4" in warning for warning in split.warnings)


def test_a_fused_network_calibrates_on_clips_that_follow_each_other(clip):
    split = make_split(CROP, CLIPS, clip, fused=True)
    whole = [crop.tobytes() for crop in clip_crops(clip, CROP, CLIPS, Bright(), 1000)]
    assert split.calibration.windows.shape[1] == CLIPS.frames
    for window in split.calibration.windows:
        places = [whole.index(crop.tobytes()) for crop in split.calibration.crops[window]]
        assert places == list(range(places[0], places[0] + CLIPS.frames))
    assert not shared(split)


def test_a_fused_network_parts_three_clips_by_file(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "MOST_CALIBRATING", 40)
    for place, name in enumerate("abc"):
        film(tmp_path / f"{name}.mp4", brighter=place)
    split = make_split(CROP, CLIPS, pictures(tmp_path, 2), fused=True)
    whole = [
        [crop.tobytes() for crop in clip_crops(tmp_path / name, CROP, CLIPS, Bright(), 1000)]
        for name in ("a.mp4", "b.mp4")
    ]
    assert split.calibration.windows.shape == (8, CLIPS.frames)
    for window in split.calibration.windows:
        crops = [crop.tobytes() for crop in split.calibration.crops[window]]
        (places,) = ([clip.index(crop) for crop in crops] for clip in whole if crops[0] in clip)
        assert places == list(range(places[0], places[0] + CLIPS.frames))
    assert "2 pictures are left out: this network takes clips" in split.warnings
    with pytest.raises(InvalidInput, match="this network takes clips"):
        make_split(CROP, CLIPS, pictures(tmp_path / "p", 9), fused=True)


def test_windows_of_pictures_are_variations_of_those_held_out(tmp_path):
    split = make_split(CROP, CLIPS, pictures(tmp_path / "p", 9))
    # A variation of a flat picture may be another flat picture, which then does not calibrate.
    assert set(split.calibration.crops[:, 8, 8, 0]) <= {8, 9, 11, 12, 14, 15}
    assert len(split.held_out.windows) >= 200
    assert split.held_out.windows.max() < len(split.held_out.crops)
    assert "variations of 3 pictures" in split.held_out.origin
    assert not shared(split)


def test_what_is_missing_or_too_little_is_said(tmp_path):
    with pytest.raises(InvalidInput, match=r"^int8: needs real face crops: --calibration PATH"):
        make_split(CROP, PER_FRAME, None)
    with pytest.raises(InvalidInput, match="does not exist"):
        make_split(CROP, PER_FRAME, tmp_path / "none")
    folder = pictures(tmp_path / "p", 1)
    for given in (folder, folder / "p0000.png"):
        with pytest.raises(InvalidInput, match="too little to calibrate on one part and judge by the other"):
            make_split(CROP, PER_FRAME, given)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no clip at all")
    with pytest.raises(SourceError, match=r"broken\.mp4"):
        make_split(CROP, PER_FRAME, broken)


def test_long_work_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_edge.training.progress._EVERY_S", 0.0)
    said: list[str] = []
    make_split(CROP, PER_FRAME, pictures(tmp_path / "p", 6), progress=said.append)
    assert said[:2] == ["finding faces: 0 of 4", "finding faces: 1 of 4"]


def test_crops_are_spread_over_a_whole_clip(clip):
    whole = [crop.tobytes() for crop in spread_crops(clip, CROP, Bright(), 1000)]
    places = [whole.index(crop.tobytes()) for crop in spread_crops(clip, CROP, Bright(), 9)]
    assert len(places) == 9
    assert places[0] == 0
    assert places[-1] > 80
    assert max(np.diff(places)) <= 3 * min(np.diff(places))


def test_many_files_share_the_crops():
    files = list(range(1000))
    assert len(spread(files, 7)) == 7
    assert spread(files, 7)[0] == 0
    assert spread(files, 7)[-1] == 999
    assert spread(files, 1000) == files
    ours, others = parts._parted(files)
    assert sorted([*ours, *others]) == files
    assert len(others) == 333


@pytest.mark.slow
def test_real_clips_are_enough(data_dir, monkeypatch):
    model = data_dir / "models" / "face_detection_yunet_2023mar.onnx"
    monkeypatch.setattr(calibration, "choose_finder", lambda _: choose_finder(f"yunet:{model}"))
    split = make_split(CROP, PER_FRAME, data_dir / "train")
    assert len(split.calibration.crops) >= 200
    assert not shared(split)
    assert split.held_out.origin.startswith("2 clips")
