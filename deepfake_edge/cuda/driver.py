"""NVIDIA's driver through ctypes: what a GPU is, what an error means, and what bindings have no interface for."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from deepfake_edge.errors import InvalidInput, MissingDependency

__all__ = ["DeviceFacts", "Driver", "DriverFailure", "load_driver"]

_LIBRARY = "libcuda.so.1"
_NOT_INITIALIZED, _NO_DEVICE, _NOT_FOUND = 3, 100, 500
# The end of the numbers that CUresult uses.
_CODES = range(1, 1000)
_MULTIPROCESSORS, _INTEGRATED, _COMPUTE_MAJOR, _COMPUTE_MINOR = 16, 18, 75, 76


class DriverFailure(Exception):
    """A call of the driver that failed. It never leaves this package: `Context` makes a typed error of it.

    Attributes:
        call: the driver's function, as its documentation names it.
        code: the CUresult.
    """

    def __init__(self, call: str, code: int) -> None:
        self.call = call
        self.code = code
        super().__init__(f"{call}: {code}")


@dataclass(frozen=True)
class DeviceFacts:
    """What a GPU is.

    Attributes:
        ordinal: its number among the GPUs that the driver shows.
        compute_capability: e.g. (8, 7).
        multiprocessors: how many it has; on Jetson some power modes leave fewer.
        memory_bytes: all of its memory; on an integrated GPU, which shares it with the CPU, all that it may use.
        integrated: it has the same memory as the CPU, as on Jetson.
        driver_version: the newest CUDA that the driver knows, e.g. "13.0".
    """

    ordinal: int
    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    memory_bytes: int
    integrated: bool
    driver_version: str


class Driver:
    """The driver, loaded and started."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of the driver that returns a CUresult.

        Raises:
            DriverFailure: it is not 0, or the driver is too old to have the function.
        """
        known = getattr(self._library, function, None)
        code = _NOT_FOUND if known is None else known(*arguments)
        if code:
            raise DriverFailure(function.removesuffix("_v2"), code)

    def describe(self, code: int) -> str:
        """An error's name, number and meaning, in the driver's words."""
        name, text = ctypes.c_char_p(), ctypes.c_char_p()
        self._library.cuGetErrorName(code, ctypes.byref(name))
        self._library.cuGetErrorString(code, ctypes.byref(text))
        return f"{(name.value or b'CUDA error').decode()} ({code}): {(text.value or b'unknown').decode()}"

    def codes_by_text(self) -> dict[str, int]:
        """The number of each error by what the driver says of it: pycuda's exceptions have the words alone."""
        codes = {}
        for code in _CODES:
            text = ctypes.c_char_p()
            if not self._library.cuGetErrorString(code, ctypes.byref(text)) and text.value:
                codes[text.value.decode()] = code
        return codes

    def device_count(self) -> int:
        """How many GPUs there are. Raises DriverFailure."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def facts(self, ordinal: int) -> DeviceFacts:
        """What a GPU is.

        Raises:
            InvalidInput: there is no such GPU.
            DriverFailure: the driver does not say.
        """
        count = self.device_count()
        if not 0 <= ordinal < count:
            have = ", ".join(f"{number} ({self._name(number)})" for number in range(count))
            raise InvalidInput(f"there is no GPU {ordinal}; this machine has {have}")
        device, memory, version = self._device(ordinal), ctypes.c_size_t(), ctypes.c_int()
        self.call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
        self.call("cuDriverGetVersion", ctypes.byref(version))
        return DeviceFacts(
            ordinal=ordinal,
            name=self._name(ordinal),
            compute_capability=(self._attribute(_COMPUTE_MAJOR, device), self._attribute(_COMPUTE_MINOR, device)),
            multiprocessors=self._attribute(_MULTIPROCESSORS, device),
            memory_bytes=memory.value,
            integrated=bool(self._attribute(_INTEGRATED, device)),
            driver_version=f"{version.value // 1000}.{version.value % 1000 // 10}",
        )

    def _device(self, ordinal: int) -> ctypes.c_int:
        device = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(device), ordinal)
        return device

    def _name(self, ordinal: int) -> str:
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), self._device(ordinal))
        return name.value.decode(errors="replace")

    def _attribute(self, attribute: int, device: ctypes.c_int) -> int:
        value = ctypes.c_int()
        self.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        return value.value


def load_driver() -> Driver:
    """The driver of this machine, started.

    Raises:
        MissingDependency: it is not installed, does not start, or has no GPU.
    """
    try:
        driver = Driver(ctypes.CDLL(_LIBRARY))
    except OSError as error:
        raise MissingDependency(
            f"NVIDIA's driver is not installed: {_LIBRARY} cannot be loaded ({error}). On a desktop install the "
            "driver (Ubuntu: ubuntu-drivers install) and restart; on Jetson it comes with JetPack; in a container "
            "start it with --gpus all, on Jetson with --runtime nvidia"
        ) from error
    try:
        driver.call("cuInit", 0)
    except DriverFailure as failure:
        if failure.code == _NO_DEVICE:
            raise MissingDependency(
                "NVIDIA's driver finds no GPU. Try: nvidia-smi; is one hidden by CUDA_VISIBLE_DEVICES?"
            ) from failure
        if failure.code == _NOT_INITIALIZED:
            raise MissingDependency(
                "NVIDIA's driver does not start in a process that was forked from one that used it. Start processes "
                'with multiprocessing.set_start_method("spawn")'
            ) from failure
        raise MissingDependency(
            f"NVIDIA's driver does not start: cuInit failed with {driver.describe(failure.code)}. After an update of "
            "the driver restart the machine; else try: nvidia-smi"
        ) from failure
    return driver
