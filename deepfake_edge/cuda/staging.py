"""Host bytes on their way into a GPU's memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from deepfake_edge.cuda.device import Device, DeviceMemory, PinnedMemory, Stream
from deepfake_edge.data import Pixels
from deepfake_edge.errors import InferenceError

_LOADS = 2
# Loads differ a little from frame to frame; memory is taken in steps, so that few of them need new memory.
_STEP_BYTES = 1 << 16


@dataclass
class _Slot:
    pinned: PinnedMemory | None = None
    memory: DeviceMemory | None = None
    stream: Stream | None = None

    def settle(self) -> None:
        """Wait for all that the stream of the last load was given."""
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.synchronize()

    def free(self) -> None:
        for held in (self.pinned, self.memory):
            if held is not None:
                held.free()
        self.pinned = self.memory = None


class Staging:
    """Brings host bytes into device memory without waiting for the copy, two loads at a time.

    A copy reads host memory only when its stream gets to it. So each load has memory of its own, used again by the
    next-but-one load, which waits for the stream of the first. One thread at a time.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._slots = deque(_Slot() for _ in range(_LOADS))

    def load(self, parts: Sequence[Pixels], stream: Stream) -> int:
        """Copy arrays, one behind the other, in the stream's order; inside the device's context.

        Args:
            parts: uint8, of any shape and strides; yours again when this returns.
            stream: does the copy; must not be freed before the next-but-one load, or `free`.
        Returns:
            their address on the device, for work that the stream is given before the next-but-one load.
        Raises:
            OutOfDeviceMemory: they do not fit.
        """
        size_bytes = sum(part.size for part in parts)
        slot = self._slots[0]
        self._slots.rotate(-1)
        slot.settle()
        pinned, memory = self._memory_of(slot, size_bytes)
        start = 0
        for part in parts:
            np.copyto(pinned.array[start : start + part.size].reshape(part.shape), part)
            start += part.size
        slot.stream = stream
        self._device.copy_to_device(memory.address, pinned.array[:size_bytes], stream)
        return memory.address

    def free(self) -> None:
        """Wait for the copies and free the memory; once more does nothing."""
        for slot in self._slots:
            # A stream that is freed, or whose device is lost, copies nothing any more.
            with suppress(InferenceError), self._device.current():
                slot.settle()
            slot.free()

    def _memory_of(self, slot: _Slot, size_bytes: int) -> tuple[PinnedMemory, DeviceMemory]:
        if slot.pinned is None or slot.memory is None or slot.memory.size_bytes < size_bytes:
            slot.free()
            room_bytes = -(-size_bytes // _STEP_BYTES) * _STEP_BYTES
            slot.pinned = self._device.pinned(room_bytes)
            slot.memory = self._device.allocate(room_bytes)
        return slot.pinned, slot.memory
