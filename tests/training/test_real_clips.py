from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_edge.benchmarks.real_clips import area_under_curve, cut_clip, in_windows, read_clip, self_blended
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import CropSpec

# Few values, so that ties are common.
SCORES = st.lists(st.integers(0, 5).map(lambda value: value / 5), min_size=1, max_size=20).map(np.array)


@given(SCORES, SCORES)
def test_the_area_is_that_under_the_curve(real, fake):
    thresholds = [*sorted({*real, *fake}, reverse=True), -1.0]
    false = np.array([0.0, *[(real >= one).mean() for one in thresholds]])
    true = np.array([0.0, *[(fake >= one).mean() for one in thresholds]])
    trapezia = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    assert area_under_curve(real, fake) == pytest.approx(trapezia)
    assert area_under_curve(fake, real) == pytest.approx(1 - trapezia)


def test_no_area_without_both():
    assert math.isnan(area_under_curve(np.array([]), np.array([0.5])))


def test_windows_slide():
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    assert in_windows(values, 4)[:, 0, 0].tolist() == [0, 2, 4]
    assert in_windows(values, 4, stride=2)[:, :, 1].tolist() == [[1, 3, 5, 7], [5, 7, 9, 11]]
    assert in_windows(values, 7).shape == (0, 7, 2)


@pytest.mark.parametrize(("fps", "count"), [(5.0, 20), (12.0, 48), (None, 100)])
def test_a_clip_is_read_at_the_models_rate(clip_path, fps, count):
    clip = read_clip(clip_path, fps, faces="whole")
    assert len(clip.pictures) == len(clip.faces) == count


def test_a_fake_differs_from_its_clip_within_the_crop(clip_path):
    clip = read_clip(clip_path, 2.0)
    fake = self_blended(clip, 1, 1.5)
    spec = CropSpec(size_px=48, margin=1.3)
    real_crops, crops, again = (cut_clip(one, spec) for one in (clip, fake, self_blended(clip, 1, 1.5)))
    assert real_crops.shape == (8, 3, 48, 48)
    assert np.array_equal(crops, again)
    assert np.abs(crops - real_crops).mean(axis=(1, 2, 3)).min() > 0.01
    assert not np.array_equal(crops, cut_clip(self_blended(clip, 2, 1.5), spec))


def test_a_picture_without_a_face_is_a_crop(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((40, 60, 3), 99, np.uint8))
    clip = read_clip(tmp_path / "grey.png", 5.0)
    assert [face.box_xyxy for face in clip.faces] == [(0, 0, 60, 40)]


def test_a_clip_without_a_face_is_refused(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "grey.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (96, 96))
    for _ in range(5):
        writer.write(np.full((96, 96, 3), 99, np.uint8))
    writer.release()
    with pytest.raises(InvalidInput, match=r"grey\.mp4: no face in it"):
        read_clip(tmp_path / "grey.mp4", None)
