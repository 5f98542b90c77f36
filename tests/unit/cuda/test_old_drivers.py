"""A driver that is older than a function of it, and one in a process that was forked too late."""

from __future__ import annotations

import pytest

from deepfake_edge.cuda.device import open_device
from deepfake_edge.errors import InferenceError, MissingDependency


class Without:
    """A driver that lacks one function, as ctypes shows it."""

    def __init__(self, library, name: str) -> None:
        self.library, self.name = library, name

    def __getattr__(self, name: str):
        if name == self.name:
            raise AttributeError(f"undefined symbol: {name}")
        return getattr(self.library, name)


# cuGraphInstantiateWithFlags came with CUDA 11.4.
@pytest.mark.parametrize("function", ["cuStreamBeginCapture_v2", "cuGraphInstantiateWithFlags"])
def test_a_driver_that_is_too_old_for_graphs_makes_none(device, cuda_double, monkeypatch, function):
    driver = device._context.driver
    monkeypatch.setattr(driver, "_library", Without(driver._library, function))
    with device.current():
        stream = device.stream()
        assert device.capture(stream, lambda: None) is None
        stream.synchronize()


def test_another_function_that_is_missing_is_named(device, monkeypatch):
    driver = device._context.driver
    monkeypatch.setattr(driver, "_library", Without(driver._library, "cuMemGetInfo_v2"))
    with device.current(), pytest.raises(InferenceError, match=r"cuMemGetInfo failed with CUDA_ERROR_NOT_FOUND"):
        device.memory_info()


def test_a_cuda_python_that_is_newer_than_the_driver_says_so(cuda_double, monkeypatch):
    driver = pytest.importorskip("cuda.bindings.driver")

    def refuse(*_: object) -> None:
        raise RuntimeError("Failed to get __cuGetProcAddress_v2")

    monkeypatch.setattr(driver, "cuDeviceGet", refuse)
    with pytest.raises(MissingDependency, match=r"does not fit the driver \(Failed to get.*cuda-python==12"):
        open_device(0, "cuda-python")


def test_a_process_that_was_forked_too_late_says_so(cuda_double):
    # What cuInit returns there: https://github.com/inducer/pycuda/issues/137
    cuda_double.fail("cuInit", 3)
    with pytest.raises(MissingDependency, match=r"forked.*spawn"):
        open_device()
