"""pycuda, the default binding.

Its objects free themselves when nothing refers to them, in whatever thread that happens, and warn where they cannot.
So each is held by one `Handle` alone, and freed while its context is current.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.cuda.driver import Driver, DriverFailure
from deepfake_edge.cuda.handles import Handle
from deepfake_edge.errors import MissingDependency
from deepfake_edge.optional import require

_NON_BLOCKING = 1
_UNKNOWN = 999


class PyCuda:
    """A primary context through pycuda; implements `handles.Binding`."""

    name = "pycuda"

    def __init__(self, ordinal: int, driver: Driver) -> None:
        """Retain the primary context. Raises MissingDependency and DriverFailure."""
        self._cuda = _import()
        self._driver = driver
        self._codes = driver.codes_by_text()
        with self._failures():
            self._context = self._cuda.Device(ordinal).retain_primary_context()

    def push(self) -> None:
        with self._failures():
            self._context.push()

    def pop(self) -> None:
        with self._failures():
            self._cuda.Context.pop()

    def release(self) -> None:
        """Give the context back, whichever thread took it.

        pycuda's `detach` does nothing in a thread other than that which took the context, unless it is the current one;
        and where it is, pycuda forgets it without taking it off the driver's stack.
        """
        self.push()
        self._driver.call("cuCtxPopCurrent_v2", None)
        with self._failures():
            self._context.detach()

    def allocate(self, size_bytes: int) -> Handle:
        with self._failures():
            memory = self._cuda.mem_alloc(size_bytes)
        return Handle(memory, int(memory))

    def free(self, memory: Handle) -> None:
        with self._failures():
            memory.native.free()

    def pin(self, size_bytes: int) -> Handle:
        with self._failures():
            array = self._cuda.pagelocked_empty(size_bytes, np.uint8, mem_flags=self._cuda.host_alloc_flags.DEVICEMAP)
            try:
                return Handle(array.base, int(array.base.get_device_pointer()), array.ctypes.data)
            except self._cuda.Error:
                array.base.free()
                raise

    def unpin(self, memory: Handle) -> None:
        with self._failures():
            memory.native.free()

    def create_stream(self) -> Handle:
        with self._failures():
            stream = self._cuda.Stream(_NON_BLOCKING)
        return Handle(stream, int(stream.handle))

    def destroy_stream(self, stream: Handle) -> None:
        stream.native = None

    def synchronize(self, stream: Handle) -> None:
        with self._failures():
            stream.native.synchronize()

    def copy_to_device(self, address: int, host: NDArray[np.generic], stream: Handle) -> None:
        with self._failures():
            self._cuda.memcpy_htod_async(address, host, stream.native)

    def copy_from_device(self, host: NDArray[np.generic], address: int, stream: Handle) -> None:
        with self._failures():
            self._cuda.memcpy_dtoh_async(host, address, stream.native)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Pycuda says "cuMemAlloc failed: out of memory", sometimes with " - " and more after it."""
        try:
            yield
        except self._cuda.Error as error:
            call, _, text = str(error).partition(" failed: ")
            code = self._codes.get(text) or self._codes.get(text.partition(" - ")[0], _UNKNOWN)
            raise DriverFailure(call, code) from error


def _import() -> Any:
    try:
        with warnings.catch_warnings():
            # It warns of what it raises next.
            warnings.simplefilter("ignore")
            return require("pycuda.driver", extra="tensorrt")
    except MissingDependency as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise MissingDependency(
            f"pycuda is installed but does not load ({error.__cause__}): it was built for a newer CUDA than the driver "
            "knows, or is broken. Build it anew: pip install --force-reinstall --no-cache-dir pycuda"
        ) from error
