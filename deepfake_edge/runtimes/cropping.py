"""A network on a CUDA device that takes frames: they go there once, and crops are cut where they are computed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from deepfake_edge.cuda.crops import FaceCropper
from deepfake_edge.cuda.device import Device, Stream
from deepfake_edge.data import Floats, Frame
from deepfake_edge.errors import InferenceError, InvalidInput
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.protocols import Array, Network, TensorSpec
from deepfake_edge.spec import CropSpec

# The picture that the kernel is proved on: wider than high, and with boxes that grow, shrink and leave it.
_WIDTH, _HEIGHT = 96, 64
_BOXES = ((8.3, 4.1, 40.9, 50.2), (-10.0, -6.5, 30.0, 34.0), (70.0, 40.0, 120.0, 90.0), (47.0, 30.0, 48.0, 31.0))
# Steps of a pixel's 256 values that a kernel's crop may be off; run on a CPU, it is off by none.
_MOST_STEPS = 1.0


class DeviceNetwork(Network, Protocol):
    """A network whose input rows may be made where it computes."""

    @property
    def most_rows(self) -> int: ...

    def run_on_device(self, count: int, fill: Callable[[int, Stream], None]) -> dict[str, Array]: ...


class CroppingNetwork:
    """Cuts crops with the CUDA kernel, straight into a network's input; implements `protocols.FrameNetwork`."""

    def __init__(self, network: DeviceNetwork, device: Device, crop: CropSpec) -> None:
        """Wrap a network, and prove the kernel on this device.

        Args:
            network: on the device; closed with this one, also when this fails.
            device: where frames are cut.
            crop: what the kernel is proved with.
        Raises:
            MissingDependency: the kernel was not built, or not for this device.
            InferenceError: it does not cut what the CPU cuts.
        """
        self._network, self._device = network, device
        self.inputs: tuple[TensorSpec, ...] = network.inputs
        self.outputs: tuple[TensorSpec, ...] = network.outputs
        # One for each call that runs: its frame and plan lie on the device until the call has ended.
        self._idle: list[FaceCropper] = []
        self._running = 0
        self._open = True
        self._state = threading.Condition()
        try:
            # With a cropper of its own: one that is used again waits for the streams of its last two frames.
            with FaceCropper(device) as cropper:
                _prove(cropper, device, crop)
        except BaseException:
            self.close()
            raise

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute crops that were cut elsewhere; see `protocols.Network`."""
        return self._network.run(feeds)

    def run_on_faces(self, frame: Frame, boxes_xyxy: Floats, crop: CropSpec) -> dict[str, Array]:
        """Compute the crops of a frame's faces; see `protocols.FrameNetwork`."""
        if not len(boxes_xyxy):
            raise InvalidInput("boxes_xyxy: wanted at least one")
        most = self._network.most_rows
        with self._cropper() as cropper:
            found = [
                self._network.run_on_device(len(some), _filling(cropper, frame, some, crop))
                for some in (boxes_xyxy[start : start + most] for start in range(0, len(boxes_xyxy), most))
            ]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def close(self) -> None:
        """Let the calls that run end, and free everything; may be called twice."""
        with self._state:
            self._open = False
            self._state.wait_for(lambda: not self._running)
            # Before the network: its streams must outlive what was given to them.
            while self._idle:
                self._idle.pop().close()
        self._network.close()

    @contextmanager
    def _cropper(self) -> Iterator[FaceCropper]:
        """A cropper that no other call uses."""
        with self._state:
            if not self._open:
                raise InferenceError("the network that cuts crops on the GPU: is closed")
            self._running += 1
            cropper = self._idle.pop() if self._idle else None
        try:
            cropper = cropper or FaceCropper(self._device)
            yield cropper
        finally:
            with self._state:
                self._running -= 1
                if cropper is not None:
                    self._idle.append(cropper)
                self._state.notify_all()


def _filling(cropper: FaceCropper, frame: Frame, boxes_xyxy: Floats, crop: CropSpec) -> Callable[[int, Stream], None]:
    def fill(address: int, stream: Stream) -> None:
        cropper.crop(cropper.upload(frame, stream), boxes_xyxy, crop, address, "float32", stream)

    return fill


def _prove(cropper: FaceCropper, device: Device, crop: CropSpec) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
    boxes = np.array(_BOXES, np.float32)
    wanted = crop_batch(pixels, boxes, crop)
    found = np.empty_like(wanted)
    with device.current():
        stream, memory = device.stream(), device.allocate(found.nbytes)
        try:
            _filling(cropper, Frame(0, 0.0, pixels), boxes, crop)(memory.address, stream)
            device.copy_from_device(found, memory.address, stream)
            stream.synchronize()
        finally:
            memory.free()
            stream.free()
    steps = np.abs(found - wanted).max(axis=(0, 2, 3)) / np.abs(np.array(crop.scale, np.float32))
    if not (steps <= _MOST_STEPS).all():
        raise InferenceError(
            f"the CUDA kernel cuts other crops on {device.facts.name} than the CPU does, up to {steps.max():.3g} "
            "of 256 values; take crops from the cpu, and please report this"
        )
