"""cuda-python, NVIDIA's own binding, second choice: wheels of it need no compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.cuda.driver import DriverFailure
from deepfake_edge.cuda.handles import Handle
from deepfake_edge.errors import MissingDependency
from deepfake_edge.optional import require


class CudaPython:
    """A primary context through cuda-python; implements `handles.Binding`."""

    name = "cuda-python"

    def __init__(self, ordinal: int) -> None:
        """Retain the primary context. Raises MissingDependency and DriverFailure."""
        self._cuda = _import()
        try:
            self._device = self._call("cuDeviceGet", ordinal)
            self._context = self._call("cuDevicePrimaryCtxRetain", self._device)
        except RuntimeError as error:
            # It looks the driver's functions up at the first call.
            raise MissingDependency(
                f"cuda-python does not fit the driver ({error}): wanted the major version of the CUDA that nvidia-smi "
                "shows. Try: pip install 'cuda-python==12.*' (or 13.*)"
            ) from error

    def push(self) -> None:
        self._call("cuCtxPushCurrent", self._context)

    def pop(self) -> None:
        self._call("cuCtxPopCurrent")

    def release(self) -> None:
        self._call("cuDevicePrimaryCtxRelease", self._device)

    def allocate(self, size_bytes: int) -> Handle:
        memory = self._call("cuMemAlloc", size_bytes)
        return Handle(memory, int(memory))

    def free(self, memory: Handle) -> None:
        self._call("cuMemFree", memory.native)

    def pin(self, size_bytes: int) -> Handle:
        host = int(self._call("cuMemHostAlloc", size_bytes, self._cuda.CU_MEMHOSTALLOC_DEVICEMAP))
        try:
            return Handle(host, int(self._call("cuMemHostGetDevicePointer", host, 0)), host)
        except DriverFailure:
            self._call("cuMemFreeHost", host)
            raise

    def unpin(self, memory: Handle) -> None:
        self._call("cuMemFreeHost", memory.native)

    def create_stream(self) -> Handle:
        stream = self._call("cuStreamCreate", self._cuda.CUstream_flags.CU_STREAM_NON_BLOCKING)
        return Handle(stream, int(stream))

    def destroy_stream(self, stream: Handle) -> None:
        self._call("cuStreamDestroy", stream.native)

    def synchronize(self, stream: Handle) -> None:
        self._call("cuStreamSynchronize", stream.native)

    def copy_to_device(self, address: int, host: NDArray[np.generic], stream: Handle) -> None:
        self._call("cuMemcpyHtoDAsync", address, host.ctypes.data, host.nbytes, stream.native)

    def copy_from_device(self, host: NDArray[np.generic], address: int, stream: Handle) -> None:
        self._call("cuMemcpyDtoHAsync", host.ctypes.data, address, host.nbytes, stream.native)

    def _call(self, function: str, *arguments: object) -> Any:
        error, *results = getattr(self._cuda, function)(*arguments)
        if int(error):
            raise DriverFailure(function, int(error))
        return results[0] if results else None


def _import() -> Any:
    try:
        return require("cuda.bindings.driver")
    except MissingDependency as error:
        raise MissingDependency("cuda-python cannot be imported. Try: pip install cuda-python") from error
