"""How the double's library itself uses the CUDA driver: for its own memory, and to ask what is current."""

from __future__ import annotations

import ctypes
from typing import Any

_MAJOR, _MINOR = 75, 76


class DriverRefusal(Exception):
    """The driver answered with an error."""

    def __init__(self, function: str, code: int) -> None:
        self.code = code
        super().__init__(f"{function}: CUDA error {code}")


class Driver:
    """The handful of driver functions that TensorRT's double calls, by ctypes."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")

    def has_context(self) -> bool:
        """Whether this thread has a current context."""
        context = ctypes.c_void_p()
        self._call("cuCtxGetCurrent", ctypes.byref(context))
        return bool(context.value)

    def facts(self) -> tuple[str, tuple[int, int], int]:
        """Name, compute capability and memory in bytes of the current context's device."""
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        total, name = ctypes.c_size_t(), ctypes.create_string_buffer(256)
        self._call("cuCtxGetDevice", ctypes.byref(device))
        self._call("cuDeviceGetName", name, 256, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(major), _MAJOR, device)
        self._call("cuDeviceGetAttribute", ctypes.byref(minor), _MINOR, device)
        self._call("cuDeviceTotalMem_v2", ctypes.byref(total), device)
        return name.value.decode(), (major.value, minor.value), total.value

    def allocate(self, size_bytes: int) -> int:
        """Device memory. Raises DriverRefusal."""
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size_bytes))
        return address.value

    def free(self, address: int) -> None:
        """Give memory back; as the CUDA runtime does, in the primary context where this thread has none."""
        if self.has_context():
            self._call("cuMemFree_v2", ctypes.c_uint64(address))
            return
        context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        try:
            self._call("cuCtxPushCurrent_v2", context)
            try:
                self._call("cuMemFree_v2", ctypes.c_uint64(address))
            finally:
                self._call("cuCtxPopCurrent_v2", ctypes.byref(context))
        finally:
            self._call("cuDevicePrimaryCtxRelease_v2", 0)

    def capturing(self, stream: int) -> bool:
        """Whether work put on a stream goes into a graph."""
        status = ctypes.c_int()
        self._call("cuStreamIsCapturing", ctypes.c_void_p(stream), ctypes.byref(status))
        return status.value != 0

    def exists(self, stream: int) -> bool:
        """Whether a stream is still there: work on one that was destroyed never runs."""
        try:
            self.capturing(stream)
        except DriverRefusal:
            return False
        return True

    def synchronise(self, stream: int) -> None:
        """Wait for a stream; while it captures, the driver refuses and drops the capture."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def _call(self, function: str, *arguments: Any) -> None:
        code = getattr(self._library, function)(*arguments)
        if code:
            raise DriverRefusal(function, code)
