from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from deepfake_edge.training.preparing.face_picture import cut_face_picture

FRAME = np.random.default_rng(4).integers(0, 256, (240, 320, 3), np.uint8)
PLAIN = CropSpec(48, mean=(0.0,) * 3, scale=(1.0,) * 3)


def crop_of(pixels, box, spec):
    return crop_batch(pixels, np.asarray([box], np.float32), spec)


@pytest.mark.parametrize("fit", ["stretch", "square"])
@given(
    centre=st.tuples(st.floats(-10, 330, width=32), st.floats(-10, 250, width=32)),
    size=st.tuples(st.floats(8, 150, width=32), st.floats(8, 150, width=32)),
    margin=st.floats(0.8, 2.0),
    resize=st.sampled_from(["linear", "area", "bilinear", "bicubic"]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_crop_of_a_face_picture_is_the_frames(fit, centre, size, margin, resize):
    box = (centre[0] - size[0] / 2, centre[1] - size[1] / 2, centre[0] + size[0] / 2, centre[1] + size[1] / 2)
    if min(box[2], 320) - max(box[0], 0) < 2 or min(box[3], 240) - max(box[1], 0) < 2:
        return
    spec = replace(PLAIN, fit=fit, margin=margin, resize=resize)
    picture = cut_face_picture(FRAME, box, None, 4096)
    assert np.array_equal(crop_of(picture.pixels, picture.box, spec), crop_of(FRAME, box, spec))


def test_a_large_face_picture_is_shrunk_with_its_box_and_landmarks():
    smooth = np.repeat(np.linspace(0, 255, 320).round().astype(np.uint8)[None, :, None], 240, 0).repeat(3, 2)
    box, eye = (90.0, 60.0, 190.0, 160.0), (120.0, 90.0)
    picture = cut_face_picture(smooth, box, (eye,), 64)
    assert max(picture.pixels.shape[:2]) == 64
    assert np.abs(crop_of(picture.pixels, picture.box, PLAIN) - crop_of(smooth, box, PLAIN)).max() <= 3
    left, top, right, bottom = picture.box
    assert picture.landmarks == (pytest.approx((left + 0.3 * (right - left), top + 0.3 * (bottom - top))),)


def test_a_face_picture_is_no_view_of_the_frame():
    frame = FRAME.copy()
    picture = cut_face_picture(frame, (10.0, 10.0, 60.0, 60.0), None, 512)
    kept = picture.pixels.copy()
    frame[:] = 0
    assert np.array_equal(picture.pixels, kept)
