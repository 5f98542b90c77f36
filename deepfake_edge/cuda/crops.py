"""Faces of a frame, cut and normalised on a GPU: `preprocess.crop_batch` as a CUDA kernel, with the same bits."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, TypeAlias

from deepfake_edge import _native
from deepfake_edge.cuda.device import Device, Module, Stream
from deepfake_edge.cuda.staging import Staging
from deepfake_edge.data import Floats, Frame, PixelFormat
from deepfake_edge.errors import DeviceLost, InferenceError, InvalidInput, MissingDependency, OutOfDeviceMemory
from deepfake_edge.pixels import planes_of
from deepfake_edge.preprocess import plan_crops
from deepfake_edge.spec import CropSpec

ValueType: TypeAlias = Literal["float32", "float16"]

# A warp across, so that it writes whole lines of memory.
BLOCK = (32, 8, 1)
_VALUE_BYTES: dict[ValueType, int] = {"float32": 4, "float16": 2}
_MENDING = "with CUDA's nvcc installed, build it from a checkout: CMAKE_ARGS=-DDEEPFAKE_EDGE_CUDA=ON pip install ."


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """A picture in a GPU's memory; borrowed.

    Attributes:
        format: BGR, RGB, or NV12 (BT.601 limited range, even sides).
        width: pixels in a row.
        height: rows.
        address: of the first pixel, as the device sees it; NV12: of its luma.
        row_bytes: from one row to the next, at least as many as a row holds.
        chroma_address: NV12 only: of its interleaved U and V.
        chroma_row_bytes: NV12 only: from one row of chroma to the next.
    """

    format: PixelFormat
    width: int
    height: int
    address: int
    row_bytes: int
    chroma_address: int = 0
    chroma_row_bytes: int = 0

    def __post_init__(self) -> None:
        """Refuse rows that would overlap: the kernel would read other pixels than were meant."""
        packed = self.format != "NV12"
        _check_plane("image", self.address, self.row_bytes, self.width * (3 if packed else 1))
        if not packed:
            _check_plane("image chroma", self.chroma_address, self.chroma_row_bytes, self.width)


class FaceCropper:
    """Cuts faces on one device. One per thread: its buffers are its own.

    What it is given is done in the order of the stream; a stream must outlive the cropper, or be freed only when its
    work is done and `close` was called.

    Raises:
        MissingDependency: this installation has no kernel, or none for this device; says how to build it.
    """

    def __init__(self, device: Device) -> None:
        image = kernel_image()
        self._device = device
        self._plans = Staging(device)
        self._frames = Staging(device)
        with device.current():
            self._module = _loaded(device, image)
            self._kernels = {
                (packed, dtype): self._module.function(f"crop_{'packed' if packed else 'nv12'}_{dtype}")
                for packed in (True, False)
                for dtype in _VALUE_BYTES
            }

    def upload(self, frame: Frame, stream: Stream) -> DeviceImage:
        """Copy a host frame to the device, without waiting for it.

        Args:
            frame: in any format; its rows may be padded. Its pixels are free again when this returns.
            stream: does the copy.
        Returns:
            the frame on the device, in memory of the cropper's: valid for work that is given to the same stream before
            the next-but-one upload.
        Raises:
            InvalidInput: the pixels are not what the frame's format says.
            OutOfDeviceMemory: it does not fit.
        """
        picture, chroma = planes_of(frame)
        with self._device.current():
            address = self._frames.load((picture,) if chroma is None else (picture, chroma), stream)
        if chroma is None:
            return DeviceImage(frame.format, frame.width, frame.height, address, frame.width * 3)
        second = address + picture.size
        return DeviceImage(frame.format, frame.width, frame.height, address, frame.width, second, frame.width)

    def crop(
        self,
        image: DeviceImage,
        boxes_xyxy: Floats,
        spec: CropSpec,
        out_address: int,
        out_dtype: ValueType,
        stream: Stream,
    ) -> None:
        """Cut, resize and normalise faces into a batch on the device, without waiting for it.

        Not while the stream captures a graph: the plan of these boxes would be in every launch of it.

        Args:
            image: on this device; may be written again when the stream has done this.
            boxes_xyxy: float32 (N, 4) on the host, as for `preprocess.crop_batch`, at most 4096.
            spec: how a crop is cut and normalised.
            out_address: device memory of N * 3 * S * S values, overwritten; aligned to a value.
            out_dtype: what a value is; float16 is float32 rounded to nearest.
            stream: does the work.
        Raises:
            InvalidInput: as `preprocess.crop_batch`, or the output's address or type is not possible.
        """
        if out_dtype not in _VALUE_BYTES:
            raise InvalidInput(f"out_dtype: wanted float32 or float16, got {out_dtype!r}")
        if out_address % _VALUE_BYTES[out_dtype] or out_address <= 0:
            raise InvalidInput(f"out_address: wanted one aligned to {out_dtype}, got {out_address:#x}")
        plan = plan_crops(image.width, image.height, image.format, boxes_xyxy, spec)
        if not len(boxes_xyxy):
            return
        with self._device.current():
            arguments = (
                ctypes.c_uint64(self._plans.load((plan,), stream)),
                ctypes.c_uint64(image.address),
                ctypes.c_int32(image.row_bytes),
                ctypes.c_uint64(image.chroma_address),
                ctypes.c_int32(image.chroma_row_bytes),
                ctypes.c_uint64(out_address),
            )
            kernel = self._kernels[image.format != "NV12", out_dtype]
            kernel.launch(tiles(spec.size_px, len(boxes_xyxy)), BLOCK, arguments, stream)

    def close(self) -> None:
        """Wait for what it was given and free its memory; once more does nothing."""
        self._plans.free()
        self._frames.free()
        self._module.free()

    def __enter__(self) -> FaceCropper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def why_not(device: Device) -> str | None:
    """Why faces cannot be cut on this device, in a sentence that says what to do; None where they can."""
    try:
        FaceCropper(device).close()
    except MissingDependency as error:
        return str(error)
    return None


def tiles(size_px: int, faces: int) -> tuple[int, int, int]:
    """The grid of `BLOCK`s that covers a batch of crops."""
    rows = BLOCK[1] * _native.ROWS_PER_THREAD
    return -(-size_px // BLOCK[0]), -(-size_px // rows), faces


def kernel_image() -> bytes:
    """The compiled kernel, for every device that its compiler knew.

    Raises:
        MissingDependency: this installation was built without CUDA's compiler.
    """
    path = Path(str(_native.__file__)).with_name("crops.fatbin")
    try:
        return path.read_bytes()
    except OSError as error:
        raise MissingDependency(f"the CUDA kernel cannot be read ({error}); {_MENDING}") from None


def _loaded(device: Device, image: bytes) -> Module:
    try:
        return device.load_module(image)
    except (DeviceLost, OutOfDeviceMemory):
        raise
    except InferenceError as error:
        facts = device.facts
        capability = ".".join(map(str, facts.compute_capability))
        raise MissingDependency(
            f"the CUDA kernel has no code for {facts.name}, compute capability {capability} ({error}); {_MENDING}"
        ) from None


def _check_plane(name: str, address: int, row_bytes: int, wanted_bytes: int) -> None:
    if address <= 0:
        raise InvalidInput(f"{name}: wanted a device address, got {address}")
    if not wanted_bytes <= row_bytes < 1 << 31:
        raise InvalidInput(f"{name}: wanted rows of at least {wanted_bytes} bytes and less than 2 GiB, got {row_bytes}")
