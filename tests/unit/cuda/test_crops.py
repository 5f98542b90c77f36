"""The CUDA kernel, compiled for the CPU (doubles/kernel) over the double of CUDA's driver, against the native core."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from deepfake_edge.cuda import crops
from deepfake_edge.cuda.crops import DeviceImage, FaceCropper, why_not
from deepfake_edge.cuda.device import Device, Stream, open_device
from deepfake_edge.data import Frame
from deepfake_edge.errors import DeviceLost, InferenceError, InvalidInput, MissingDependency, OutOfDeviceMemory
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from doubles.cuda import CudaDouble
from doubles.kernel import kernel_double

RESIZES = ("linear", "area", "bilinear", "bicubic")
FORMATS = ("BGR", "RGB", "NV12")
ODD = {"mean": (1.0, 20.5, 103.25), "scale": (0.5, 1 / 3, 1 / 127.5)}
OUT_OF_MEMORY, ILLEGAL_ADDRESS, NO_BINARY = 2, 700, 209
CANARY = 0xA5

# Growing and shrinking, each axis its own way; an exact half; over every edge; a pixel and less; the whole frame.
BOXES = np.array(
    [
        [10, 12, 50, 47],
        [3, 5, 133, 119],
        [20, 10, 86, 76],
        [60, 2, 100, 129],
        [-20, -15.5, 30, 28],
        [110, 90, 170, 160],
        [70, 60, 71, 61],
        [5.1, 7.1, 5.3, 7.2],
        [139, 127, 140, 128],
        [0, 0, 140, 128],
    ],
    np.float32,
)


@pytest.fixture
def device(cuda_double: CudaDouble) -> Iterator[Device]:
    with open_device(binding="cuda-python") as opened:
        yield opened


@pytest.fixture
def cropper(device: Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaceCropper]:
    monkeypatch.setattr(crops, "kernel_image", kernel_double)
    with FaceCropper(device) as made:
        yield made


@pytest.fixture
def stream(device: Device) -> Iterator[Stream]:
    with device.current():
        made = device.stream()
    yield made
    made.free()


def random_frame(layout: str, width: int = 140, height: int = 128, padding: int = 0, seed: int = 0) -> Frame:
    """A frame of noise whose rows are `padding` pixels apart."""
    noise = np.random.default_rng(seed)
    if layout == "NV12":
        y = noise.integers(0, 256, (height, width + padding), np.uint8)[:, :width]
        uv = noise.integers(0, 256, (height // 2, width // 2 + padding, 2), np.uint8)[:, : width // 2]
        return Frame(0, 0.0, (y, uv), "NV12")
    return Frame(0, 0.0, noise.integers(0, 256, (height, width + padding, 3), np.uint8)[:, :width], layout)


class Output:
    """Device memory for a batch of crops, with a margin on both sides that nothing may write to."""

    MARGIN_BYTES = 64

    def __init__(self, device: Device, faces: int, size_px: int, dtype: str = "float32") -> None:
        self.device = device
        self.whole = np.full(
            faces * 3 * size_px**2 * np.dtype(dtype).itemsize + 2 * self.MARGIN_BYTES, CANARY, np.uint8
        )
        self.shape, self.dtype = (faces, 3, size_px, size_px), dtype
        self.memory = device.allocate(self.whole.size)
        self.address = self.memory.address + self.MARGIN_BYTES

    def clear(self, stream: Stream) -> None:
        self.device.copy_to_device(self.memory.address, self.whole, stream)
        stream.synchronize()

    def values(self, stream: Stream) -> np.ndarray:
        self.device.copy_from_device(self.whole, self.memory.address, stream)
        stream.synchronize()
        self.memory.free()
        margins = (self.whole[: self.MARGIN_BYTES], self.whole[-self.MARGIN_BYTES :])
        assert all((margin == CANARY).all() for margin in margins), "the kernel wrote beside its output"
        return self.whole[self.MARGIN_BYTES : -self.MARGIN_BYTES].view(self.dtype).reshape(self.shape)


def cropped(device, cropper, stream, image, boxes, spec, dtype="float32") -> np.ndarray:
    with device.current():
        out = Output(device, len(boxes), spec.size_px, dtype)
        out.clear(stream)
        on_device = image if isinstance(image, DeviceImage) else cropper.upload(image, stream)
        cropper.crop(on_device, boxes, spec, out.address, dtype, stream)
        return out.values(stream)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("fit", ["stretch", "square"])
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("layout", FORMATS)
def test_every_bit_is_the_cpu_core_s(device, cropper, stream, layout, resize, fit, order):
    frame = random_frame(layout)
    for size_px in (1, 2, 31, 33, 66):
        for margin in (1.0, 1.3):
            spec = CropSpec(size_px=size_px, margin=margin, fit=fit, resize=resize, channel_order=order, **ODD)
            got = cropped(device, cropper, stream, frame, BOXES, spec)
            np.testing.assert_array_equal(got, crop_batch(frame, BOXES, spec))


@pytest.mark.parametrize("layout", FORMATS)
def test_thirty_faces_of_a_1080p_frame_in_one_launch(cuda_double, device, cropper, stream, layout):
    frame = random_frame(layout, 1920, 1080)
    noise = np.random.default_rng(1)
    corners = noise.uniform((-40, -40), (1800, 960), (30, 2))
    boxes = np.concatenate((corners, corners + noise.uniform(60, 400, (30, 2))), axis=1).astype(np.float32)
    spec = CropSpec()
    got = cropped(device, cropper, stream, frame, boxes, spec)
    np.testing.assert_array_equal(got, crop_batch(frame, boxes, spec))
    assert cuda_double.calls.count("cuLaunchKernel") == 1


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("layout", ["BGR", "NV12"])
def test_float16_is_float32_rounded_to_nearest(device, cropper, stream, layout, resize):
    frame = random_frame(layout)
    spec = CropSpec(size_px=33, resize=resize)
    got = cropped(device, cropper, stream, frame, BOXES, spec, "float16")
    np.testing.assert_array_equal(got, crop_batch(frame, BOXES, spec).astype(np.float16))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("padding", [0, 1, 37])
def test_rows_on_the_device_may_lie_apart(cuda_double, device, cropper, stream, layout, padding):
    """A decoder's own memory: each plane where it is, at its own pitch, odd ones too."""
    frame = random_frame(layout)
    planes = frame.pixels if isinstance(frame.pixels, tuple) else (frame.pixels,)
    with device.current():
        held, places = [], []
        for number, plane in enumerate(planes):
            rows = plane.reshape(plane.shape[0], -1)
            pitch = rows.shape[1] + padding * (1 + number)
            memory = device.allocate(1 + (rows.shape[0] - 1) * pitch + rows.shape[1])
            for y, row in enumerate(rows):
                cuda_double.write(memory.address + 1 + y * pitch, row.tobytes())
            held.append(memory)
            places += [memory.address + 1, pitch]
    image = DeviceImage(layout, frame.width, frame.height, *places)
    spec = CropSpec(size_px=40, fit="square", margin=1.3)
    np.testing.assert_array_equal(cropped(device, cropper, stream, image, BOXES, spec), crop_batch(frame, BOXES, spec))
    for memory in held:
        memory.free()


@pytest.mark.parametrize("layout", FORMATS)
def test_a_host_frame_s_rows_may_be_padded(device, cropper, stream, layout):
    frame = random_frame(layout, padding=5)
    spec = CropSpec(size_px=40)
    np.testing.assert_array_equal(cropped(device, cropper, stream, frame, BOXES, spec), crop_batch(frame, BOXES, spec))


def test_work_that_waits_keeps_its_own_pixels_and_boxes(device, cropper, stream):
    """Nothing runs before the stream is waited for: what is handed in next must not reach what waits."""
    spec = CropSpec(size_px=24)
    frames = [random_frame("BGR", seed=number) for number in range(7)]
    wanted = [crop_batch(frame, BOXES[number : number + 2], spec) for number, frame in enumerate(frames)]
    with device.current():
        outputs = [Output(device, 2, spec.size_px) for _ in frames]
        for out in outputs:
            out.clear(stream)
        for number, (frame, out) in enumerate(zip(frames, outputs, strict=True)):
            boxes = BOXES[number : number + 2].copy()
            cropper.crop(cropper.upload(frame, stream), boxes, spec, out.address, "float32", stream)
            frame.pixels[...] = 0
            boxes[...] = 0
        for out, crop in zip(outputs, wanted, strict=True):
            np.testing.assert_array_equal(out.values(stream), crop)


def test_two_streams_share_a_cropper_s_memory_safely(device, cropper):
    spec = CropSpec(size_px=24)
    frames = [random_frame("NV12", seed=number) for number in range(6)]
    with device.current():
        streams = [device.stream(), device.stream()]
        outputs = [Output(device, len(BOXES), spec.size_px) for _ in frames]
        for number, (frame, out) in enumerate(zip(frames, outputs, strict=True)):
            stream = streams[number % 2]
            out.clear(stream)
            cropper.crop(cropper.upload(frame, stream), BOXES, spec, out.address, "float32", stream)
        for number, (frame, out) in enumerate(zip(frames, outputs, strict=True)):
            np.testing.assert_array_equal(out.values(streams[number % 2]), crop_batch(frame, BOXES, spec))
        cropper.close()
        for stream in streams:
            stream.free()


def test_a_thousand_frames_take_no_more_memory(cuda_double, device, cropper, stream):
    spec, frame = CropSpec(size_px=4), random_frame("BGR", 16, 16)
    boxes = np.array([[1, 1, 9, 9]], np.float32)
    cropped(device, cropper, stream, frame, boxes, spec)
    cropped(device, cropper, stream, frame, boxes, spec)
    before = cuda_double.live
    for _ in range(1000):
        cropped(device, cropper, stream, frame, boxes, spec)
    assert cuda_double.live == before


def test_no_boxes_launch_nothing(cuda_double, device, cropper, stream):
    with device.current():
        image = cropper.upload(random_frame("BGR"), stream)
        cropper.crop(image, np.empty((0, 4), np.float32), CropSpec(), 4096, "float32", stream)
    assert "cuLaunchKernel" not in cuda_double.calls


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 0, 9), "is empty or inverted"),
        ((500, 500, 510, 510), "has no pixel inside the frame; the frame is 140 x 128"),
        ((0, 0, np.nan, 9), "not finite"),
    ],
)
def test_boxes_are_refused_in_the_cpu_core_s_words(device, cropper, stream, box, words):
    boxes = np.array([BOXES[0], box], np.float32)
    frame = random_frame("BGR")
    with pytest.raises(InvalidInput) as by_core:
        crop_batch(frame, boxes, CropSpec())
    with device.current(), pytest.raises(InvalidInput) as here:
        cropper.crop(cropper.upload(frame, stream), boxes, CropSpec(), 4096, "float32", stream)
    assert words in str(here.value)
    assert str(here.value) == str(by_core.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "GREY"}, "image format: wanted BGR, RGB or NV12, got GREY"),
        ({"width": 40000, "row_bytes": 120000}, "image: wanted 1 to 32768 pixels a side, got 40000 x 128"),
        ({"height": 0}, "image: wanted 1 to 32768 pixels a side, got 140 x 0"),
        ({"row_bytes": 419}, "image: wanted rows of at least 420 bytes and less than 2 GiB, got 419"),
        (
            {"row_bytes": 1 << 31},
            "image: wanted rows of at least 420 bytes and less than 2 GiB, got 2147483648",
        ),
        ({"address": 0}, "image: wanted a device address, got 0"),
        ({"format": "NV12"}, "image chroma: wanted a device address, got 0"),
        (
            {"format": "NV12", "chroma_address": 8, "chroma_row_bytes": 139},
            "image chroma: wanted rows of at least 140 bytes and less than 2 GiB, got 139",
        ),
        (
            {"format": "NV12", "height": 127, "chroma_address": 8, "chroma_row_bytes": 140},
            "image: wanted NV12 with even sides, got 140 x 127",
        ),
    ],
)
def test_images_that_cannot_be_are_refused(cropper, stream, change, words):
    good = {"format": "BGR", "width": 140, "height": 128, "address": 4096, "row_bytes": 420}
    with pytest.raises(InvalidInput, match=f"^{words}$"):
        cropper.crop(DeviceImage(**{**good, **change}), BOXES, CropSpec(), 4096, "float32", stream)


def test_outputs_that_cannot_be_are_refused(cropper, stream):
    image = DeviceImage("BGR", 140, 128, 4096, 420)
    for address, dtype, words in (
        (4098, "float32", "out_address: wanted one aligned to float32, got 0x1002"),
        (4097, "float16", "out_address: wanted one aligned to float16, got 0x1001"),
        (0, "float16", "out_address: wanted one aligned to float16, got 0x0"),
        (4096, "float64", "out_dtype: wanted float32 or float16, got 'float64'"),
    ):
        with pytest.raises(InvalidInput, match=f"^{words}$"):
            cropper.crop(image, BOXES, CropSpec(), address, dtype, stream)


def test_more_boxes_than_a_plan_holds_are_refused(cropper, stream):
    boxes = np.repeat(BOXES[:1], 4097, axis=0)
    with pytest.raises(InvalidInput, match="wanted at most 4096 at once, got 4097"):
        cropper.crop(DeviceImage("BGR", 140, 128, 4096, 420), boxes, CropSpec(), 4096, "float32", stream)


def test_a_frame_is_checked_before_it_is_copied(device, cropper, stream):
    frame = Frame(0, 0.0, np.zeros((4, 4, 3), np.float32))
    with device.current(), pytest.raises(InvalidInput, match="wanted uint8 pixels, got float32"):
        cropper.upload(frame, stream)


def test_memory_that_runs_out_is_named_and_the_next_frame_works(cuda_double, device, cropper, stream):
    frame, spec = random_frame("BGR"), CropSpec(size_px=24)
    for function in ("cuMemAlloc_v2", "cuMemHostAlloc"):
        cuda_double.fail(function, OUT_OF_MEMORY)
        with device.current(), pytest.raises(OutOfDeviceMemory):
            cropper.upload(frame, stream)
        assert cuda_double.failures_left == 0
    np.testing.assert_array_equal(cropped(device, cropper, stream, frame, BOXES, spec), crop_batch(frame, BOXES, spec))


def test_a_lost_device_says_so_and_closes(cuda_double, device, cropper, stream):
    with device.current():
        image = DeviceImage("BGR", 140, 128, 4096, 420)
        out = device.allocate(10 * 3 * 24 * 24 * 4)
        cropper.crop(image, BOXES, CropSpec(size_px=24), out.address, "float32", stream)
        with pytest.raises(DeviceLost):
            stream.synchronize()
        with pytest.raises(DeviceLost):
            cropper.crop(image, BOXES, CropSpec(size_px=24), 4096, "float32", stream)
    assert cuda_double.sticky == ILLEGAL_ADDRESS
    cropper.close()


def test_closing_waits_frees_all_and_may_be_done_twice(cuda_double, device, monkeypatch, stream):
    monkeypatch.setattr(crops, "kernel_image", kernel_double)
    before = cuda_double.live
    cropper = FaceCropper(device)
    frame, spec = random_frame("BGR"), CropSpec(size_px=24)
    with device.current():
        out = Output(device, len(BOXES), 24)
        out.clear(stream)
        cropper.crop(cropper.upload(frame, stream), BOXES, spec, out.address, "float32", stream)
        cropper.close()
        cropper.close()
        np.testing.assert_array_equal(out.values(stream), crop_batch(frame, BOXES, spec))
    assert cuda_double.live == before
    with pytest.raises(InferenceError):
        cropper.crop(DeviceImage("BGR", 140, 128, 4096, 420), BOXES, spec, 4096, "float32", stream)


def test_an_installation_without_the_kernel_says_how_to_build_it(device, monkeypatch, tmp_path):
    monkeypatch.setattr(crops._native, "__file__", str(tmp_path / "_native.so"))
    with pytest.raises(MissingDependency, match=r"crops\.fatbin.*DEEPFAKE_EDGE_CUDA=ON pip install"):
        FaceCropper(device)
    assert "DEEPFAKE_EDGE_CUDA=ON" in (why_not(device) or "")


def test_a_kernel_without_code_for_this_device_says_so(cuda_double, device, monkeypatch):
    monkeypatch.setattr(crops, "kernel_image", kernel_double)
    assert why_not(device) is None
    cuda_double.fail("cuModuleLoadData", NO_BINARY)
    reason = why_not(device) or ""
    assert "no code for CUDA driver double (no GPU), compute capability 8.7" in reason
    assert "209" in reason
    assert "DEEPFAKE_EDGE_CUDA=ON" in reason


def test_a_lack_of_memory_is_not_taken_for_a_lack_of_code(cuda_double, device, monkeypatch):
    monkeypatch.setattr(crops, "kernel_image", kernel_double)
    cuda_double.fail("cuModuleLoadData", OUT_OF_MEMORY)
    with pytest.raises(OutOfDeviceMemory):
        why_not(device)
