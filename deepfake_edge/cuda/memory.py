"""Memory of a GPU, memory of the host that it sees, and the streams that its work stands in line on."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.cuda.context import Context, Resource
from deepfake_edge.cuda.handles import Handle
from deepfake_edge.errors import InvalidInput


class DeviceMemory(Resource):
    """Memory of the device; its content is anything at first."""

    def __init__(self, context: Context, size_bytes: int) -> None:
        _check_size(size_bytes)
        with context.calling(f"{size_bytes} bytes of device memory"):
            handle = context.binding.allocate(size_bytes)
        super().__init__(context, lambda: context.binding.free(handle))
        self._address = handle.value
        self.size_bytes = size_bytes

    @property
    def address(self) -> int:
        """Where it starts, as the device counts. Raises InferenceError where it is freed."""
        self._check()
        return self._address


class PinnedMemory(Resource):
    """Page-locked memory of the host: copies of it really run beside other work, and the device sees it, too."""

    def __init__(self, context: Context, size_bytes: int) -> None:
        _check_size(size_bytes)
        with context.calling(f"{size_bytes} bytes of pinned memory"):
            handle = context.binding.pin(size_bytes)
        super().__init__(context, lambda: context.binding.unpin(handle))
        self._address, self._device_address = handle.host, handle.value
        self.size_bytes = size_bytes

    @property
    def array(self) -> NDArray[np.uint8]:
        """uint8 (size_bytes,), the memory itself: it and its views must not be used after `free`."""
        return np.ctypeslib.as_array((ctypes.c_uint8 * self.size_bytes).from_address(self.address))

    @property
    def address(self) -> int:
        """Where it starts, as the host counts. Raises InferenceError where it is freed."""
        self._check()
        return self._address

    @property
    def device_address(self) -> int:
        """Where it starts, as the device counts. Raises InferenceError where it is freed."""
        self._check()
        return self._device_address


class Stream(Resource):
    """A line that work stands in, one after the other; it does not wait for the default stream."""

    def __init__(self, context: Context) -> None:
        with context.calling():
            native = context.binding.create_stream()
        super().__init__(context, lambda: context.binding.destroy_stream(native))
        self._native = native
        self._copied: list[NDArray[np.generic]] = []

    @property
    def native(self) -> Handle:
        """The binding's own. Raises InferenceError where it is freed."""
        self._check()
        return self._native

    @property
    def handle(self) -> int:
        """The CUstream as a number. Raises InferenceError where it is freed."""
        return self.native.value

    def hold(self, host: NDArray[np.generic]) -> None:
        """Keep an array alive until the stream was waited for: a copy of it stands in line."""
        self._copied.append(host)

    def synchronize(self) -> None:
        """Wait until all its work is done. Raises InferenceError, also for what that work did."""
        with self._context.calling():
            self._context.binding.synchronize(self.native)
        self._copied.clear()


def _check_size(size_bytes: int) -> None:
    if size_bytes < 1:
        raise InvalidInput(f"size_bytes is {size_bytes}; memory has at least 1 byte")
