from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake_edge import pixels
from deepfake_edge.data import Frame
from deepfake_edge.errors import InvalidInput
from deepfake_edge.pixels import faces_from, shrink_to_bgr, to_bgr


def gradient(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 90)], axis=2).astype(np.uint8)


def nv12(bgr, padding=0):
    height, width = bgr.shape[:2]
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).reshape(-1)
    y = planar[: height * width].reshape(height, width)
    u, v = planar[height * width :].reshape(2, height // 2, width // 2)
    uv = np.stack([u, v], axis=2)
    wide_y = np.zeros((height, width + padding), np.uint8)
    wide_uv = np.zeros((height // 2, width // 2 + padding // 2, 2), np.uint8)
    wide_y[:, :width], wide_uv[:, : width // 2] = y, uv
    return Frame(0, 0.0, (wide_y[:, :width], wide_uv[:, : width // 2]), "NV12")


def frame_of(bgr, kind):
    if kind == "BGR":
        return Frame(0, 0.0, bgr)
    if kind == "RGB":
        return Frame(0, 0.0, np.ascontiguousarray(bgr[:, :, ::-1]), "RGB")
    return nv12(bgr, padding=0 if kind == "NV12" else 32)


KINDS = ["BGR", "RGB", "NV12", "NV12 padded"]


def test_bgr_is_the_same_array():
    picture = gradient(20, 30)
    assert to_bgr(Frame(0, 0.0, picture)) is picture
    assert shrink_to_bgr(Frame(0, 0.0, picture), 30)[0] is picture


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_picture(kind):
    picture = gradient(120, 160)
    got = to_bgr(frame_of(picture, kind))
    assert got.shape == picture.shape
    assert np.abs(got.astype(int) - picture).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("height", "width"), [(120, 160), (160, 120), (122, 162), (2, 400), (400, 2)])
def test_shrink_keeps_content_and_place(kind, height, width):
    picture = gradient(height, width)
    small, scale = shrink_to_bgr(frame_of(picture, kind), 80)
    assert scale == 80 / max(height, width)
    assert abs(small.shape[0] - height * scale) <= 2
    assert abs(small.shape[1] - width * scale) <= 2
    if min(height, width) > 2:  # two columns have one chroma sample between them
        wanted = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(small.astype(int) - wanted).mean() < 5


def test_a_large_nv12_frame_is_never_converted_whole(monkeypatch):
    sizes = []

    def recording(y, uv, code):
        sizes.append(y.shape)
        return np.zeros((*y.shape, 3), np.uint8)

    monkeypatch.setattr(pixels.cv2, "cvtColorTwoPlane", recording)
    shrink_to_bgr(nv12(gradient(720, 1280)), 320)
    assert sizes == [(180, 320)]


@pytest.mark.parametrize(
    "frame",
    [
        Frame(0, 0.0, np.zeros((4, 4), np.uint8)),
        Frame(0, 0.0, np.zeros((4, 4, 4), np.uint8)),
        Frame(0, 0.0, np.zeros((0, 4, 3), np.uint8)),
        Frame(0, 0.0, np.zeros((4, 4, 3), np.float32)),
        Frame(0, 0.0, np.zeros((4, 4, 3), np.uint8), "NV12"),
        Frame(0, 0.0, (np.zeros((4, 4), np.uint8), np.zeros((2, 2, 2), np.uint8)), "BGR"),
        Frame(0, 0.0, (np.zeros((5, 4), np.uint8), np.zeros((2, 2, 2), np.uint8)), "NV12"),
        Frame(0, 0.0, (np.zeros((4, 4), np.uint8), np.zeros((4, 2, 2), np.uint8)), "NV12"),
    ],
)
@pytest.mark.parametrize("convert", [to_bgr, lambda frame: shrink_to_bgr(frame, 2)])
def test_wrong_pixels_are_named(frame, convert):
    with pytest.raises(InvalidInput, match="frame: "):
        convert(frame)


def test_a_picture_cannot_be_shrunk_to_nothing():
    with pytest.raises(InvalidInput, match="max_side_px"):
        shrink_to_bgr(Frame(0, 0.0, gradient(4, 4)), 1)


def test_faces_are_scaled_ordered_and_usable():
    boxes = np.array([[10, 10, 20, 20], [0, 0, 5, 5], [30, 5, 40, 15], [1, 1, 1, 9], [np.nan, 0, 1, 1]], np.float32)
    faces = faces_from(boxes, np.array([0.5, 0.9, 0.5, 0.99, 0.99]), np.ones((5, 5, 2)), scale=0.5)
    assert [face.box_xyxy for face in faces] == [(0, 0, 10, 10), (60, 10, 80, 30), (20, 20, 40, 40)]
    assert faces[0].landmarks == ((2.0, 2.0),) * 5
    assert faces_from(np.zeros((0, 4)), np.zeros(0)) == []
