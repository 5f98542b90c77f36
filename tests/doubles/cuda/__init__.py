"""A double of the CUDA driver, for tests on machines that have no GPU: pycuda and cuda-python run over it.

`load_cuda_double` compiles the C++ beside this file to a `libcuda.so.1` and loads it, so that whatever looks for that
library from now on gets the double. Outside a test that asked for it, it says that there is no GPU.

What it holds to, and where it is stricter than a GPU:

- A device address is no host address. Any address outside a live allocation is CUDA_ERROR_ILLEGAL_ADDRESS, a sticky
  error, when the work that uses it runs. Fresh memory is NaN in every float format.
- A kernel runs on the host's bytes behind a device's addresses: what it writes behind the end of memory is an illegal
  address, too, and further away the end of the process.
- Copies, kernels, graphs and what tests `enqueue` run when their stream is waited for, never before. Work on a stream
  that is destroyed first is lost.
- The default stream, blocking streams, synchronous copies and pinned memory that is not mapped are errors. Work needs a
  current context.
- After a sticky error every call fails with it until `reset`, except those that name errors, devices or the driver,
  push or pop a context, or release it.
- pycuda tries a device allocation again after Python's garbage collection: to make one fail, fail two.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
from collections.abc import Callable
from pathlib import Path

from doubles.compiled import compiled

__all__ = ["LIVE", "CudaDouble", "CudaDoubleError", "RealDriverLoadedError", "load_cuda_double"]

LAUNCH_FAILED = 719

# What `CudaDouble.live` counts.
LIVE = (
    "device_bytes",
    "device_allocations",
    "pinned_allocations",
    "streams",
    "graphs",
    "modules",
    "contexts",
)
_FOLDER = Path(__file__).parent
_FLAGS = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fvisibility=hidden", "-pthread")
_Run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64)


class CudaDoubleError(Exception):
    """What the double's driver answered. Work that raises it fails with its code."""

    def __init__(self, code: int, what: str) -> None:
        self.code = code
        super().__init__(f"the CUDA double says {code} to {what}")


class RealDriverLoadedError(Exception):
    """This process uses NVIDIA's own libcuda.so.1; both do not go together."""


@functools.cache
def load_cuda_double() -> CudaDouble:
    """The one double of this process.

    Raises:
        RealDriverLoadedError: a real driver was loaded before.
    """
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    if "/libcuda.so" in maps:
        raise RealDriverLoadedError("this process has already loaded NVIDIA's libcuda.so.1")
    flags = (*_FLAGS, "-Wl,-soname,libcuda.so.1", "-Wl,-Bsymbolic")
    library = compiled("libcuda.so.1", sorted(_FOLDER.glob("*.cpp")), sorted(_FOLDER.glob("*.h*")), flags)
    return CudaDouble(ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL))


class CudaDouble:
    """What tests see of the driver double.

    Attributes:
        errors: what work on streams raised, other than `CudaDoubleError`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._work: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count(1)
        self._run = _Run(self._run_work)
        self.errors: list[BaseException] = []
        library.double_released.restype = ctypes.c_size_t
        library.double_context_depth.restype = ctypes.c_size_t
        library.double_calls.restype = ctypes.c_size_t

    def reset(self, *, enabled: bool = True) -> None:
        """Nothing allocated, no failures asked for, the usual device. Without `enabled` there is no device."""
        self._library.double_reset(int(enabled))
        self._drop_released()
        self.errors.clear()
        if enabled:
            self.facts()

    def facts(
        self,
        *,
        name: str = "CUDA driver double (no GPU)",
        compute_capability: tuple[int, int] = (8, 7),
        integrated: bool = False,
        memory_bytes: int = 8 << 30,
        driver_version: str = "13.0",
        devices: int = 1,
        multiprocessors: int = 8,
    ) -> None:
        """What the device says of itself; to be set before it is opened."""
        major, minor = (int(part) for part in driver_version.split("."))
        self._library.double_facts(
            name.encode(),
            *compute_capability,
            int(integrated),
            ctypes.c_size_t(memory_bytes),
            major * 1000 + minor * 10,
            devices,
            multiprocessors,
        )

    def fail(self, function: str, error: int, after: int = 0, times: int = 1) -> None:
        """Let calls of a driver's function fail, e.g. ("cuMemAlloc_v2", 2).

        Args:
            function: as the driver exports it.
            error: a CUresult; a sticky one loses the context.
            after: so many calls pass first.
            times: so many calls fail then.
        """
        assert hasattr(self._library, function), f"the CUDA double has no {function}"
        self._library.double_fail(function.encode(), error, after, times)

    @property
    def failures_left(self) -> int:
        """How many of `fail` have not happened yet."""
        return int(self._library.double_failures_left())

    @property
    def sticky(self) -> int:
        """The error that lost the context, or 0."""
        return int(self._library.double_sticky())

    @property
    def context_depth(self) -> int:
        """How many contexts are pushed in this thread."""
        return int(self._library.double_context_depth())

    @property
    def live(self) -> dict[str, int]:
        """What is allocated now; `contexts` counts how often the primary context is retained."""
        counts = (ctypes.c_size_t * len(LIVE))()
        self._library.double_live(counts)
        return dict(zip(LIVE, counts, strict=True))

    @property
    def calls(self) -> list[str]:
        """The driver's functions that were called, in order."""
        count = self._library.double_calls(None, ctypes.c_size_t(0))
        names = (ctypes.c_char_p * count)()
        count = min(count, self._library.double_calls(names, ctypes.c_size_t(count)))
        return [(name or b"").decode() for name in names[:count]]

    def allocate(self, size_bytes: int) -> int:
        """Device memory as a library that runs on the device takes it; needs a current context."""
        address = ctypes.c_uint64()
        self._check(
            self._library.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size_bytes)),
            f"an allocation of {size_bytes} bytes",
        )
        return address.value

    def free(self, address: int) -> None:
        """Give back what `allocate` gave."""
        self._check(self._library.cuMemFree_v2(ctypes.c_uint64(address)), f"freeing {address:#x}")

    def read(self, address: int, size_bytes: int) -> bytes:
        """Bytes of device or mapped memory, as the device sees them now; outside: the context is lost."""
        host = ctypes.create_string_buffer(size_bytes)
        error = self._library.double_read(ctypes.c_uint64(address), host, ctypes.c_size_t(size_bytes))
        self._check(error, f"reading {size_bytes} bytes at {address:#x}")
        return host.raw

    def write(self, address: int, data: bytes) -> None:
        """Change device or mapped memory now; outside: the context is lost."""
        error = self._library.double_write(ctypes.c_uint64(address), data, ctypes.c_size_t(len(data)))
        self._check(error, f"writing {len(data)} bytes at {address:#x}")

    def enqueue(self, stream_handle: int, work: Callable[[], None]) -> None:
        """Put work on a stream: it runs in order when the stream is waited for.

        While the stream captures, it becomes part of the graph, and runs at each of its launches. Work that raises
        fails the wait: with the code of a `CudaDoubleError`, else as a failed launch (719), and `errors` has why.

        Raises:
            CudaDoubleError: no such stream, no current context, or a context that is lost.
        """
        self._drop_released()
        number = next(self._numbers)
        self._work[number] = work
        error = self._library.double_enqueue(ctypes.c_uint64(stream_handle), self._run, ctypes.c_int64(number))
        self._check(error, f"work on stream {stream_handle:#x}")

    def _run_work(self, number: int) -> int:
        try:
            self._work[number]()
        except CudaDoubleError as error:
            return error.code
        except BaseException as error:  # noqa: BLE001
            self.errors.append(error)
            return LAUNCH_FAILED
        return 0

    def _drop_released(self) -> None:
        released = (ctypes.c_int64 * 256)()
        while count := self._library.double_released(released, ctypes.c_size_t(len(released))):
            for number in released[:count]:
                self._work.pop(number, None)

    def _check(self, error: int, what: str) -> None:
        if error:
            raise CudaDoubleError(error, what)
