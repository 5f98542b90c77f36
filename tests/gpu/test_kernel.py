"""The CUDA kernel on a real GPU: its crops against the CPU core's, its time against the bytes it moves, no leaks."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from deepfake_edge.cuda import crops
from deepfake_edge.cuda.crops import FaceCropper
from deepfake_edge.cuda.device import Device, Stream
from deepfake_edge.data import Frame
from deepfake_edge.errors import MissingDependency
from deepfake_edge.preprocess import crop_batch, plan_crops
from deepfake_edge.spec import CropSpec
from gpu.timing import median_ms

pytestmark = pytest.mark.gpu

FORMATS = ("BGR", "RGB", "NV12")
RESIZES = ("linear", "area", "bilinear", "bicubic")
WIDTH, HEIGHT, FACES = 1920, 1080, 30
# In one graph, so that the CPU's share of a launch does not count.
LAUNCHES = 20
ENOUGH = 0.6


@pytest.fixture
def cropper(device: Device) -> Iterator[FaceCropper]:
    try:
        made = FaceCropper(device)
    except MissingDependency as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def stream(device: Device) -> Iterator[Stream]:
    with device.current():
        made = device.stream()
    yield made
    made.free()


def frame_of(layout: str) -> Frame:
    noise = np.random.default_rng(0)
    if layout == "NV12":
        planes = (
            noise.integers(0, 256, (HEIGHT, WIDTH), np.uint8),
            noise.integers(0, 256, (HEIGHT // 2, WIDTH // 2, 2), np.uint8),
        )
        return Frame(0, 0.0, planes, "NV12")
    return Frame(0, 0.0, noise.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8), layout)


def faces(low_px: float, high_px: float, count: int = FACES) -> np.ndarray:
    """Boxes all over the frame and beyond its edges."""
    noise = np.random.default_rng(1)
    corners = noise.uniform((-30, -30), (WIDTH - 60, HEIGHT - 60), (count, 2))
    return np.concatenate((corners, corners + noise.uniform(low_px, high_px, (count, 2))), axis=1).astype(np.float32)


def cropped(device, cropper, stream, frame, boxes, spec, dtype="float32") -> np.ndarray:
    out = np.empty((len(boxes), 3, spec.size_px, spec.size_px), dtype)
    with device.current(), device.allocate(out.nbytes) as memory:
        cropper.crop(cropper.upload(frame, stream), boxes, spec, memory.address, dtype, stream)
        device.copy_from_device(out, memory.address, stream)
        stream.synchronize()
    return out


@pytest.mark.parametrize("layout", FORMATS)
def test_crops_are_the_cpu_core_s(device, cropper, stream, figure, layout):
    frame = frame_of(layout)
    values = differing = 0
    for boxes in (faces(2, 40), faces(60, 400), faces(400, 1500, count=2)):
        for resize in RESIZES:
            for fit in ("stretch", "square"):
                spec = CropSpec(resize=resize, fit=fit, scale=(1.0, 1.0, 1.0))
                got = cropped(device, cropper, stream, frame, boxes, spec)
                wanted = crop_batch(frame, boxes, spec)
                assert np.abs(got - wanted).max() <= 1.0, f"{resize}, {fit}: more than 1/255"
                differing += np.count_nonzero(got != wanted)
                values += got.size
    figure("-", "CUDA kernel", "float32", f"{layout}: values that differ from the CPU's", f"{differing} of {values}")


def test_float16_is_float32_rounded(device, cropper, stream):
    frame, boxes, spec = frame_of("NV12"), faces(60, 400), CropSpec()
    single = cropped(device, cropper, stream, frame, boxes, spec)
    half = cropped(device, cropper, stream, frame, boxes, spec, "float16")
    np.testing.assert_array_equal(half, single.astype(np.float16))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", ["BGR", "NV12"])
def test_its_time_against_the_bytes_it_must_move(device, cropper, stream, figure, layout, dtype):
    """A copy that moves as many bytes, read and written together, is the measure."""
    boxes, spec = faces(100, 300), CropSpec()
    plan = plan_crops(WIDTH, HEIGHT, layout, boxes, spec)
    out_bytes = FACES * 3 * spec.size_px**2 * np.dtype(dtype).itemsize
    moved = out_bytes + plan.size + read_bytes(boxes, layout)
    with device.current():
        image = cropper.upload(frame_of(layout), stream)
        module = device.load_module(crops.kernel_image())
        out, table, other = (device.allocate(size) for size in (max(out_bytes, moved), plan.size, moved))
        device.copy_to_device(table.address, plan, stream)
        stream.synchronize()
        kernel = module.function(f"crop_{'nv12' if layout == 'NV12' else 'packed'}_{dtype}")
        arguments = (
            ctypes.c_uint64(table.address),
            ctypes.c_uint64(image.address),
            ctypes.c_int32(image.row_bytes),
            ctypes.c_uint64(image.chroma_address),
            ctypes.c_int32(image.chroma_row_bytes),
            ctypes.c_uint64(out.address),
        )
        tiles = crops.tiles(spec.size_px, FACES)
        copy_ms = time_of(device, stream, lambda: copy(other.address, out.address, moved // 2, stream))
        crop_ms = time_of(device, stream, lambda: kernel.launch(tiles, crops.BLOCK, arguments, stream))
        for memory in (out, table, other, module):
            memory.free()
    share = copy_ms / crop_ms
    what = f"{FACES} faces of a {layout} 1080p frame to {spec.size_px} px"
    figure("-", "CUDA kernel", dtype, what, f"{crop_ms:.3f} ms, {share:.0%} of copy bandwidth")
    if (layout, dtype) == ("BGR", "float32"):
        assert share >= ENOUGH


def read_bytes(boxes: np.ndarray, layout: str) -> int:
    """Of the frame, every pixel of every face once."""
    inside = np.clip(boxes, 0, (WIDTH, HEIGHT, WIDTH, HEIGHT))
    pixels = ((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])).sum()
    return int(pixels * (1.5 if layout == "NV12" else 3))


def copy(target: int, source: int, size_bytes: int, stream: Stream) -> None:
    driver = ctypes.CDLL("libcuda.so.1")
    addresses = ctypes.c_uint64(target), ctypes.c_uint64(source)
    error = driver.cuMemcpyDtoDAsync_v2(*addresses, ctypes.c_size_t(size_bytes), ctypes.c_void_p(stream.handle))
    if error:
        pytest.skip(f"this driver does not copy within the device: error {error}")


def time_of(device: Device, stream: Stream, work) -> float:
    """Milliseconds of one run of `work`, of many that stand in line on the GPU."""
    work()
    stream.synchronize()
    graph = device.capture(stream, lambda: [work() for _ in range(LAUNCHES)] and None)
    if graph is None:
        pytest.skip("the driver captures no graph, and without one the time would be the CPU's")

    def launch() -> None:
        graph.launch(stream)
        stream.synchronize()

    time_ms = median_ms(launch) / LAUNCHES
    graph.free()
    return time_ms


def test_a_thousand_frames_lose_no_memory(device, cropper, stream, lost_bytes):
    frame, boxes, spec = frame_of("NV12"), faces(60, 200, count=4), CropSpec(size_px=112)

    def frames(count: int) -> None:
        for _ in range(count):
            cropped(device, cropper, stream, frame, boxes, spec)

    frames(3)
    assert lost_bytes(lambda: frames(1000)) == 0
