from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge import preprocess
from deepfake_edge.data import Frame
from deepfake_edge.errors import InvalidInput
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec

SPEC = CropSpec(size_px=8)
RAW = CropSpec(size_px=1, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
BOX = np.array([[4.0, 4.0, 40.0, 40.0]], np.float32)


def test_allocates_or_fills_the_caller_s_array():
    out = np.empty((1, 3, 8, 8), np.float32)
    assert crop_batch(IMAGE, BOX, SPEC, out) is out
    fresh = crop_batch(IMAGE, BOX, SPEC)
    assert fresh.dtype == np.float32
    np.testing.assert_array_equal(fresh, out)


def test_no_boxes_give_an_empty_batch():
    assert crop_batch(IMAGE, np.empty((0, 4), np.float32), SPEC).shape == (0, 3, 8, 8)


def test_normalises_each_plane_with_its_own_numbers():
    image = np.full((4, 4, 3), (10, 20, 30), np.uint8)
    spec = CropSpec(size_px=1, mean=(1.0, 2.0, 3.0), scale=(1.0, 10.0, 100.0))
    box = np.array([[0, 0, 4, 4]], np.float32)
    assert crop_batch(image, box, spec).ravel().tolist() == [29.0, 180.0, 700.0]
    bgr = CropSpec(size_px=1, mean=(1.0, 2.0, 3.0), scale=(1.0, 10.0, 100.0), channel_order="bgr")
    assert crop_batch(image, box, bgr).ravel().tolist() == [9.0, 180.0, 2700.0]
    assert crop_batch(Frame(0, 0.0, image, "RGB"), box, bgr).ravel().tolist() == [29.0, 180.0, 700.0]


def test_a_margin_grows_the_box_around_its_centre():
    image = np.zeros((20, 20, 3), np.uint8)
    image[8:12, 8:12] = 160
    spec = CropSpec(size_px=1, resize="area", mean=RAW.mean, scale=RAW.scale, margin=2.0)
    assert crop_batch(image, np.array([[8, 8, 12, 12]], np.float32), spec).ravel().tolist() == [40.0] * 3


def test_a_square_is_black_outside_the_frame():
    image = np.full((10, 10, 3), 200, np.uint8)
    spec = CropSpec(size_px=4, fit="square", mean=RAW.mean, scale=RAW.scale)
    planes = crop_batch(image, np.array([[-2, -2, 2, 2]], np.float32), spec)[0]
    np.testing.assert_array_equal(planes[0], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 200, 200], [0, 0, 200, 200]])


@pytest.mark.parametrize("fit", ["stretch", "square"])
def test_a_box_under_a_pixel_is_the_pixel_that_holds_its_centre(fit):
    spec = CropSpec(size_px=1, fit=fit, mean=RAW.mean, scale=RAW.scale, channel_order="bgr")
    for box, pixel in (
        ((5.6, 7.55, 5.9, 7.95), (7, 5)),
        ((5.1, 7.1, 5.3, 7.2), (7, 5)),
        ((0.0, 0.0, 1e-3, 1e-3), (0, 0)),
    ):
        got = crop_batch(IMAGE, np.array([box], np.float32), spec).ravel()
        np.testing.assert_array_equal(got, IMAGE[pixel])


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((np.nan, 0, 5, 5), "not finite"),
        ((0, 0, np.inf, 5), "not finite"),
        ((5, 5, 5, 9), "empty or inverted"),
        ((9, 5, 5, 9), "empty or inverted"),
        ((64, 0, 80, 10), "no pixel inside"),
        ((-9, -9, -1, -1), "no pixel inside"),
        ((1e30, 0, 2e30, 10), "no pixel inside"),
        ((0, 48.2, 10, 60), "no pixel inside"),
    ],
)
@pytest.mark.parametrize("fit", ["stretch", "square"])
def test_refuses_a_box_by_its_index_and_leaves_out_alone(box, words, fit):
    if fit == "square" and max(box) > 1e29 and np.isfinite(box).all():
        words = "more than 32768"
    boxes = np.concatenate([BOX, np.array([box], np.float32)])
    out = np.full((2, 3, 8, 8), 7.0, np.float32)
    with pytest.raises(InvalidInput, match=rf"boxes_xyxy\[1\].*{words}"):
        crop_batch(IMAGE, boxes, CropSpec(size_px=8, fit=fit), out)
    assert (out == 7.0).all()


def nv12(height: int, width: int, uv_shape: tuple[int, ...]) -> Frame:
    return Frame(0, 0.0, (np.zeros((height, width), np.uint8), np.zeros(uv_shape, np.uint8)), "NV12")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[1, 2, 3]], "image: wanted a numpy array of uint8, got list"),
        (IMAGE.astype(np.float32), "image: wanted uint8, got float32"),
        (IMAGE[:, :, 0], r"image: wanted shape \(height, width, 3\), got \(48, 64\)"),
        (np.zeros((4, 4, 4), np.uint8), "image: wanted shape"),
        (np.zeros((0, 4, 3), np.uint8), "image: wanted 1 to 32768 pixels"),
        (IMAGE[:, :, ::-1], "image: wanted contiguous pixels within a row"),
        (IMAGE[:, ::2], "image: wanted contiguous pixels within a row"),
        (IMAGE.transpose(1, 0, 2), "image: wanted contiguous pixels within a row"),
        (IMAGE[::-1], "image: wanted rows that follow one another"),
        (np.broadcast_to(IMAGE[:1], IMAGE.shape), "image: wanted rows that follow one another"),
        (Frame(0, 0.0, IMAGE, "NV12"), r"image: wanted NV12 as a tuple \(Y, UV\)"),
        (Frame(0, 0.0, IMAGE, "YUYV"), "image format: wanted BGR, RGB or NV12, got YUYV"),
        (nv12(8, 8, (4, 4)), r"image UV plane: wanted shape \(height, width, 2\)"),
        (nv12(8, 8, (4, 3, 2)), "image: wanted NV12 with even sides"),
        (nv12(7, 8, (4, 4, 2)), "image: wanted NV12 with even sides"),
        (nv12(8, 9, (4, 4, 2)), "image: wanted NV12 with even sides"),
    ],
)
def test_refuses_an_image_by_what_is_wrong(image, words):
    with pytest.raises(InvalidInput, match=words):
        crop_batch(image, BOX, SPEC)


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        (BOX.tolist(), "boxes_xyxy: wanted a numpy array of float32, got list"),
        (BOX.astype(np.float64), "boxes_xyxy: wanted float32, got float64"),
        (BOX[0], r"boxes_xyxy: wanted shape \(N, 4\), got \(4,\)"),
        (np.zeros((1, 5), np.float32), "boxes_xyxy: wanted shape"),
        (np.asfortranarray(np.repeat(BOX, 3, axis=0)), "boxes_xyxy: wanted a C-contiguous array"),
        (np.frombuffer(bytearray(17), np.uint8)[1:].view(np.float32).reshape(1, 4), "boxes_xyxy: wanted an aligned"),
    ],
)
def test_refuses_boxes_by_what_is_wrong(boxes, words):
    with pytest.raises(InvalidInput, match=words):
        crop_batch(IMAGE, boxes, SPEC)


def read_only() -> np.ndarray:
    out = np.empty((1, 3, 8, 8), np.float32)
    out.flags.writeable = False
    return out


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.empty((1, 3, 8, 8), np.float64), "out: wanted float32, got float64"),
        (np.empty((1, 3, 8, 8), ">f4"), "out: wanted float32, got >f4"),
        (np.empty((2, 3, 8, 8), np.float32), r"out: wanted shape \(1, 3, 8, 8\), got \(2, 3, 8, 8\)"),
        (np.empty((1, 8, 8, 3), np.float32), "out: wanted shape"),
        (np.empty((1, 3, 8, 16), np.float32)[..., ::2], "out: wanted a C-contiguous array"),
        (read_only(), "out: wanted a writeable array"),
    ],
)
def test_refuses_an_out_by_what_is_wrong(out, words):
    with pytest.raises(InvalidInput, match=words):
        crop_batch(IMAGE, BOX, SPEC, out)


def test_refuses_an_out_that_overlaps_what_it_reads():
    memory = np.zeros(3 * 8 * 8 * 4 * 2, np.uint8)
    out = memory[: 3 * 8 * 8 * 4].view(np.float32).reshape(1, 3, 8, 8)
    image = memory[100 : 100 + 8 * 8 * 3].reshape(8, 8, 3)
    box = np.array([[0, 0, 8, 8]], np.float32)
    with pytest.raises(InvalidInput, match="out: wanted memory apart from the image"):
        crop_batch(image, box, SPEC, out)
    frame = Frame(0, 0.0, (np.zeros((16, 24), np.uint8), image.reshape(8, 12, 2)), "NV12")
    with pytest.raises(InvalidInput, match="out: wanted memory apart from the image"):
        crop_batch(frame, box, SPEC, out)
    with pytest.raises(InvalidInput, match="out: wanted memory apart from the boxes"):
        crop_batch(IMAGE, out.reshape(-1)[:4].reshape(1, 4), SPEC, out)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, None, 4096])
def test_refuses_a_number_of_threads(threads):
    with pytest.raises(InvalidInput, match="threads: wanted"):
        crop_batch(IMAGE, BOX, SPEC, threads=threads)


def test_reads_nothing_but_the_picture_s_own_memory():
    """The picture ends where its memory does, as a camera's buffer may."""
    mmap = pytest.importorskip("mmap")
    ctypes = pytest.importorskip("ctypes")
    page = mmap.PAGESIZE
    pages = mmap.mmap(-1, 8 * page)
    libc = ctypes.CDLL(None, use_errno=True)
    whole = np.frombuffer(pages, np.uint8)
    guarded = ctypes.c_void_p(whole.ctypes.data + 7 * page)
    if libc.mprotect(guarded, ctypes.c_size_t(page), 0) != 0:
        pytest.skip("this system has no guard pages")
    try:
        for width, height in ((1, 1), (3, 5), (40, 30), (97, 41)):
            end = 7 * page
            image = whole[end - width * height * 3 : end].reshape(height, width, 3)
            box = np.array([[0, 0, width, height]], np.float32)
            for resize in ("linear", "area", "bilinear", "bicubic"):
                for size in (1, 7, 33, 299):
                    crop_batch(image, box, CropSpec(size_px=size, resize=resize))
    finally:
        libc.mprotect(guarded, ctypes.c_size_t(page), 3)


def test_the_kernel_variable_is_checked(monkeypatch):
    monkeypatch.setenv(preprocess.KERNEL_VARIABLE, "abacus")
    with pytest.raises(InvalidInput, match=r"DEEPFAKE_EDGE_KERNEL: wanted one of .*generic, got 'abacus'"):
        crop_batch(IMAGE, BOX, SPEC)
    monkeypatch.setenv(preprocess.KERNEL_VARIABLE, "generic")
    assert preprocess.kernel() == "generic"
    monkeypatch.delenv(preprocess.KERNEL_VARIABLE)
    assert preprocess.kernel() == preprocess.kernels()[0]
