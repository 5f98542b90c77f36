"""Every kernel set, against what OpenCV and Pillow make of the same pixels."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfake_edge import preprocess
from deepfake_edge.data import Frame
from deepfake_edge.spec import CropSpec
from native import reference

RESIZES = ("linear", "area", "bilinear", "bicubic")
SIZES = (1, 2, 3, 7, 15, 16, 17, 31, 33, 64, 112, 224, 299)
FORMATS = ("BGR", "RGB", "NV12")
RAW = {"mean": (0.0, 0.0, 0.0), "scale": (1.0, 1.0, 1.0)}

pytestmark = pytest.mark.usefixtures("kernel_set")


@pytest.fixture(params=preprocess.kernels())
def kernel_set(request, monkeypatch):
    monkeypatch.setenv(preprocess.KERNEL_VARIABLE, request.param)
    return request.param


def random_frame(seed: int, width: int, height: int, layout: str, smooth: bool = False, padding: int = 0) -> Frame:
    """A frame whose rows are `padding` bytes further apart than they are long."""
    generator = np.random.default_rng(seed)

    def plane(rows: int, row_bytes: int) -> np.ndarray:
        whole = generator.integers(0, 256, (rows, row_bytes + padding), dtype=np.uint8)
        if smooth:
            whole = cv2.GaussianBlur(whole, (0, 0), 3)
        return whole[:, :row_bytes]

    if layout == "NV12":
        chroma = plane(height // 2, width)
        uv = np.lib.stride_tricks.as_strided(chroma, (height // 2, width // 2, 2), (chroma.strides[0], 2, 1))
        return Frame(0, 0.0, (plane(height, width), uv), "NV12")
    rows = plane(height, width * 3)
    return Frame(0, 0.0, np.lib.stride_tricks.as_strided(rows, (height, width, 3), (rows.strides[0], 3, 1)), layout)


def assert_close(image, box, spec: CropSpec) -> None:
    """At most one step of 1/255 on any pixel, and under a tenth of one on average."""
    got = preprocess.crop_batch(image, np.array([box], np.float32), spec)[0]
    wanted = reference.bytes_of(image, np.float32(box), spec)
    scale = np.array(spec.scale, np.float32)[:, None, None]
    mean = np.array(spec.mean, np.float32)[:, None, None]
    steps = np.abs(got / scale + mean - wanted)
    assert np.isfinite(got).all()
    assert steps.max() <= 1.001, f"{steps.max()} of 255 at {np.unravel_index(steps.argmax(), steps.shape)}"
    assert steps.mean() < 0.1


@st.composite
def cases(draw):
    width, height = draw(st.integers(1, 200)) * 2, draw(st.integers(1, 160)) * 2
    layout = draw(st.sampled_from(FORMATS))
    frame = random_frame(
        draw(st.integers(0, 9999)), width, height, layout, draw(st.booleans()), draw(st.integers(0, 5))
    )
    size = draw(st.sampled_from(SIZES))
    if draw(st.booleans()):
        factor_x, factor_y = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        left, top = draw(st.integers(-3, width - 1)), draw(st.integers(-3, height - 1))
        sides = max(size * factor_x, 5), max(size * factor_y, 5)
    else:
        left, top = draw(st.floats(-30, width - 1)), draw(st.floats(-30, height - 1))
        sides = 32 + draw(st.floats(0.1, 300)), 32 + draw(st.floats(0.1, 300))
    spec = CropSpec(
        size_px=size,
        margin=draw(st.sampled_from((1.0, 1.3))),
        fit=draw(st.sampled_from(("stretch", "square"))),
        resize=draw(st.sampled_from(RESIZES)),
        channel_order=draw(st.sampled_from(("rgb", "bgr"))),
        **RAW,
    )
    return frame, (left, top, left + sides[0], top + sides[1]), spec


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_random_frames_and_boxes(case):
    assert_close(*case)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize(
    ("width", "height", "box", "size"),
    [
        (2, 2, (0, 0, 1, 1), 299),
        (64, 64, (11, 13, 12, 14), 33),
        (64, 64, (0, 0, 64, 1), 17),
        (64, 64, (63, 63, 64, 64), 224),
        (640, 480, (0, 0, 640, 480), 1),
        (640, 480, (1, 1, 639, 479), 2),
        (3840, 2160, (0, 0, 3840, 2160), 16),
        (3840, 2160, (1001, 3, 3000, 2159), 299),
        (3840, 2160, (3800, 2100, 4000, 2300), 299),
        (320, 320, (7, 9, 314, 311), 299),
        (100, 400, (3, 5, 99, 399), 299),
        (400, 100, (3, 5, 399, 99), 64),
    ],
)
@pytest.mark.parametrize("fit", ["stretch", "square"])
def test_extreme_sizes(layout, resize, width, height, box, size, fit):
    frame = random_frame(5, width, height, layout)
    assert_close(frame, box, CropSpec(size_px=size, resize=resize, fit=fit, **RAW))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("top", range(2))
def test_nv12_at_odd_chroma_positions(resize, left, top):
    frame = random_frame(8, 96, 64, "NV12", padding=3)
    for width in (17, 18, 40, 41):
        box = (left, top, left + width, top + 33)
        assert_close(frame, box, CropSpec(size_px=24, resize=resize, **RAW))


@pytest.mark.parametrize("resize", ["linear", "bilinear", "bicubic"])
@pytest.mark.parametrize("layout", FORMATS)
def test_every_byte_is_the_reference_s(resize, layout):
    frame = random_frame(3, 400, 300, layout, smooth=True)
    spec = CropSpec(resize=resize)
    boxes = np.array([[10, 20, 330, 290], [200, 100, 399, 180], [3.3, 4.4, 50.5, 60.6]], np.float32)
    wanted = np.stack([reference.crop(frame, box, spec) for box in boxes])
    np.testing.assert_array_equal(preprocess.crop_batch(frame, boxes, spec), wanted)


def test_every_kernel_set_gives_the_same_bytes(kernel_set, monkeypatch):
    frame = random_frame(4, 500, 380, "NV12")
    boxes = np.array([[1, 2, 490, 370], [-20, -20, 180.5, 200], [200, 200, 231, 222]], np.float32)
    for resize in RESIZES:
        spec = CropSpec(size_px=150, resize=resize, fit="square")
        monkeypatch.setenv(preprocess.KERNEL_VARIABLE, "generic")
        wanted = preprocess.crop_batch(frame, boxes, spec)
        monkeypatch.setenv(preprocess.KERNEL_VARIABLE, kernel_set)
        np.testing.assert_array_equal(preprocess.crop_batch(frame, boxes, spec), wanted)


def real_faces(data_dir):
    manifest = json.loads((data_dir / "manifest.json").read_text())
    for entry in manifest["videos"]:
        capture = cv2.VideoCapture(str(data_dir / entry["file"]))
        for index, boxes in entry["boxes"].items():
            capture.set(cv2.CAP_PROP_POS_FRAMES, int(index))
            read, picture = capture.read()
            if read and boxes:
                yield picture, [(x, y, x + w, y + h) for x, y, w, h in boxes]
        capture.release()
    for name, box in (("astronaut.png", (175, 65, 275, 200)), ("grace_hopper.jpg", (190, 60, 360, 290))):
        yield cv2.imread(str(data_dir / "photos" / name)), [box]


def as_nv12(picture: np.ndarray) -> Frame:
    height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
    planar = cv2.cvtColor(picture[:height, :width], cv2.COLOR_BGR2YUV_I420)
    u, v = planar[height:].reshape(2, height // 2, width // 2)
    return Frame(0, 0.0, (planar[:height], np.ascontiguousarray(np.stack((u, v), axis=2))), "NV12")


def test_real_faces(data_dir):
    seen = 0
    for picture, boxes in real_faces(data_dir):
        for resize in RESIZES:
            for image in (picture, as_nv12(picture)):
                spec = CropSpec(resize=resize, margin=1.3, fit="square" if seen % 2 else "stretch")
                assert_close(image, boxes[0], spec)
        seen += 1
    assert seen > 20
