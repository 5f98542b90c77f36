"""A GPU that is open: `open_device` is the way in."""

from __future__ import annotations

import atexit
import ctypes
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.cuda.context import Context, kind_of_failure
from deepfake_edge.cuda.driver import DeviceFacts, Driver, DriverFailure, load_driver
from deepfake_edge.cuda.graphs import Graph, capture
from deepfake_edge.cuda.handles import Binding
from deepfake_edge.cuda.kernels import Function, Module
from deepfake_edge.cuda.memory import DeviceMemory, PinnedMemory, Stream
from deepfake_edge.cuda.with_cuda_python import CudaPython
from deepfake_edge.cuda.with_pycuda import PyCuda
from deepfake_edge.errors import InvalidInput, MissingDependency

__all__ = [
    "BINDINGS",
    "Device",
    "DeviceFacts",
    "DeviceMemory",
    "Function",
    "Graph",
    "Module",
    "PinnedMemory",
    "Stream",
    "open_device",
]

BINDINGS = (PyCuda.name, CudaPython.name)


def open_device(ordinal: int = 0, binding: str | None = None) -> Device:
    """Open a GPU: retain its primary context, which other libraries of this process share.

    Args:
        ordinal: its number among the GPUs that the driver shows.
        binding: `pycuda` or `cuda-python`; None takes the first of them that is installed.
    Raises:
        InvalidInput: there is no such GPU or binding.
        MissingDependency: the driver or the binding is not installed, or no GPU is there.
        InferenceError: the GPU does not open, e.g. because another process has it for itself.
    """
    if binding is not None and binding not in BINDINGS:
        raise InvalidInput(f"there is no CUDA binding {binding!r}; there are {', '.join(BINDINGS)}")
    driver = load_driver()
    try:
        facts = driver.facts(ordinal)
        opened = _first_binding(driver, ordinal) if binding is None else _open_binding(binding, driver, ordinal)
    except DriverFailure as failure:
        said = f"GPU {ordinal} does not open: {failure.call} failed with {driver.describe(failure.code)}"
        kind = kind_of_failure(failure.code)
        raise kind(f"{said}. Try: nvidia-smi; does another process use up the GPU?") from failure
    return Device(facts, Context(driver, opened, facts.name))


def _open_binding(name: str, driver: Driver, ordinal: int) -> Binding:
    return PyCuda(ordinal, driver) if name == PyCuda.name else CudaPython(ordinal)


def _first_binding(driver: Driver, ordinal: int) -> Binding:
    reasons = []
    for name in BINDINGS:
        try:
            return _open_binding(name, driver, ordinal)
        except MissingDependency as error:
            reasons.append(str(error))
    raise MissingDependency("; or ".join(reasons))


class Device:
    """A GPU. Every method but `close` is called inside `current()`; several threads may use it at once.

    What is not freed is freed when the device is closed, at the latest when Python ends.

    Attributes:
        facts: what the GPU is.
        binding: the Python binding that is used, by its name in `BINDINGS`.
    """

    def __init__(self, facts: DeviceFacts, context: Context) -> None:
        """Take over a context that `open_device` retained."""
        self.facts = facts
        self.binding = context.binding.name
        self._context = context
        atexit.register(context.close_at_exit)

    def current(self) -> AbstractContextManager[None]:
        """Make the GPU's context current in this thread, and leave it as it was before; may be nested.

        Raises:
            DeviceLost: it does not work any more.
            InferenceError: the device is closed.
        """
        return self._context.current()

    def allocate(self, size_bytes: int) -> DeviceMemory:
        """Memory of the device. Raises OutOfDeviceMemory, DeviceLost, InferenceError."""
        return DeviceMemory(self._context, size_bytes)

    def pinned(self, size_bytes: int) -> PinnedMemory:
        """Page-locked memory of the host, which the device sees, too. Raises as `allocate` does."""
        return PinnedMemory(self._context, size_bytes)

    def stream(self) -> Stream:
        """A stream that does not wait for the default one. Raises DeviceLost, InferenceError."""
        return Stream(self._context)

    def copy_to_device(self, address: int, host: NDArray[np.generic], stream: Stream) -> None:
        """Put a copy of all of `host` on a stream.

        Args:
            address: where it goes in device memory.
            host: contiguous; it must not be changed until the stream was waited for, which keeps it alive till then.
            stream: what the copy stands in line on.
        Raises:
            InvalidInput: `host` is not contiguous.
            InferenceError: the driver refuses.
        """
        _check_contiguous(host)
        stream.hold(host)
        with self._context.calling():
            self._context.binding.copy_to_device(address, host, stream.native)

    def copy_from_device(self, host: NDArray[np.generic], address: int, stream: Stream) -> None:
        """Put a copy that fills all of `host` on a stream.

        Args:
            host: contiguous and writable; it has its values once the stream was waited for, which keeps it alive.
            address: where it comes from in device memory.
            stream: what the copy stands in line on.
        Raises:
            InvalidInput: `host` is not contiguous, or not writable.
            InferenceError: the driver refuses.
        """
        _check_contiguous(host)
        if not host.flags.writeable:
            raise InvalidInput("a copy from the device cannot be written into a read-only array")
        stream.hold(host)
        with self._context.calling():
            self._context.binding.copy_from_device(host, address, stream.native)

    def memory_info(self) -> tuple[int, int]:
        """Free and total memory of the device, in bytes. Raises DeviceLost, InferenceError."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._context.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value, total.value

    def capture(self, stream: Stream, work: Callable[[], None]) -> Graph | None:
        """Record what `work` puts on a stream, without running it; None where the driver refuses.

        The stream can be used again in either case.

        Raises:
            DeviceLost: the GPU does not work any more. What `work` raises other than InferenceError comes through, too.
        """
        return capture(self._context, stream, work)

    def load_module(self, image: bytes) -> Module:
        """Load a cubin, a fatbin or PTX. Raises InferenceError where it holds nothing that this GPU runs."""
        return Module(self._context, image)

    def close(self) -> None:
        """Free all that is still open on it and release its context; may be called twice.

        Raises:
            InferenceError: it is current in this thread, or something could not be freed; the rest is freed then.
        """
        self._context.close()
        atexit.unregister(self._context.close_at_exit)

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_contiguous(host: NDArray[np.generic]) -> None:
    if not host.flags.c_contiguous:
        raise InvalidInput(f"copies need a contiguous array; this one has shape {host.shape}, strides {host.strides}")
