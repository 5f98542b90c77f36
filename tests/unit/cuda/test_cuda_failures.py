"""Every call of the driver fails once: the right error comes, nothing leaks, and a lost GPU stays lost."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.cuda.device import Device, open_device
from deepfake_edge.errors import DeviceLost, InferenceError, MissingDependency, OutOfDeviceMemory
from doubles.cuda import LIVE

NOTHING = dict.fromkeys(LIVE, 0)
OPENING = (
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetAttribute",
    "cuDriverGetVersion",
    "cuDevicePrimaryCtxRetain",
)
USING = (
    "cuCtxPushCurrent_v2",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemHostGetDevicePointer_v2",
    "cuStreamCreate",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuStreamSynchronize",
    "cuGraphLaunch",
)
RECORDING = ("cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy")
FREEING = ("cuMemFree_v2", "cuMemFreeHost", "cuStreamDestroy_v2", "cuGraphExecDestroy")
# A failure here leaves the thread with a context that nobody can take away.
LEAVING = ("cuCtxPopCurrent_v2", "cuDevicePrimaryCtxRelease_v2")
STICKY = (214, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719)


def _use(device: Device) -> None:
    """Everything that a device does, once."""
    host = np.arange(4, dtype=np.uint8)
    out = np.zeros_like(host)
    with device.current():
        device.memory_info()
        memory, pinned, stream = device.allocate(4), device.pinned(4), device.stream()
        device.copy_to_device(memory.address, host, stream)
        device.copy_from_device(pinned.array, memory.address, stream)
        stream.synchronize()
        graph = device.capture(stream, lambda: device.copy_from_device(out, memory.address, stream))
        assert graph is not None
        graph.launch(stream)
        stream.synchronize()
        assert (pinned.array == host).all()
        assert (out == host).all()


def _fail(cuda_double, binding: str, function: str, error: int, after: int = 0) -> None:
    tries_again = (binding, function, error) == ("pycuda", "cuMemAlloc_v2", 2)
    cuda_double.fail(function, error, after, times=2 if tries_again else 1)


def test_every_call_is_in_these_lists(binding, cuda_double):
    with open_device(0, binding) as device:
        _use(device)
    questions = {"cuGetErrorString", "cuGetErrorName", "cuInit"}
    known = {*OPENING, *USING, *RECORDING, *FREEING, *LEAVING}
    assert set(cuda_double.calls) - questions <= known
    assert known <= set(cuda_double.calls)


@pytest.mark.parametrize("function", OPENING)
@pytest.mark.parametrize(("error", "kind"), [(999, InferenceError), (2, OutOfDeviceMemory), (700, DeviceLost)])
def test_a_gpu_that_does_not_open(binding, cuda_double, capfd, function, error, kind):
    cuda_double.fail(function, error)
    with pytest.raises(kind, match=r"GPU 0 does not open: cuD.* failed with CUDA_ERROR.*Try: nvidia-smi"):
        open_device(0, binding)
    assert cuda_double.live == NOTHING
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("function", USING)
@pytest.mark.parametrize(("error", "kind"), [(1, InferenceError), (2, OutOfDeviceMemory)])
def test_a_call_that_fails_once(binding, cuda_double, capfd, function, error, kind):
    name = function.partition("_")[0]
    with open_device(0, binding) as device:
        _fail(cuda_double, binding, function, error)
        with pytest.raises(kind, match=f"{name} failed with CUDA_ERROR") as caught:
            _use(device)
        assert type(caught.value) is kind
        assert cuda_double.context_depth == 0
        _use(device)
    assert cuda_double.live == NOTHING
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", STICKY)
def test_a_sticky_error_loses_the_gpu(binding, cuda_double, error):
    with open_device(0, binding) as device:
        cuda_double.fail("cuStreamSynchronize", error)
        with pytest.raises(DeviceLost, match=rf"\({error}\).*restart"):
            _use(device)


@pytest.mark.parametrize("function", [*USING, *RECORDING])
def test_a_lost_gpu_stays_lost(binding, cuda_double, capfd, function):
    device = open_device(0, binding)
    with device.current():
        memory, pinned, stream = device.allocate(4), device.pinned(4), device.stream()
        graph = device.capture(stream, lambda: None)
    _fail(cuda_double, binding, function, 700)
    with pytest.raises(DeviceLost) as caught:
        _use(device)
    before = cuda_double.calls
    host = np.zeros(4, np.uint8)
    for use in (
        device.memory_info,
        device.stream,
        stream.synchronize,
        lambda: device.allocate(1),
        lambda: device.pinned(1),
        lambda: device.load_module(b"double:"),
        lambda: device.copy_to_device(memory.address, host, stream),
        lambda: device.copy_from_device(host, memory.address, stream),
        lambda: device.capture(stream, lambda: None),
        lambda: graph.launch(stream),
        lambda: device.current().__enter__(),
    ):
        with pytest.raises(DeviceLost) as again:
            use()
        assert str(again.value) == str(caught.value)
    for resource in (memory, pinned, stream, graph):
        resource.free()
    assert cuda_double.calls == before
    device.close()
    device.close()
    assert cuda_double.live == NOTHING
    assert cuda_double.context_depth == 0
    # pycuda frees the memory that it took just before, and says that it cannot.
    if (binding, function) != ("pycuda", "cuMemHostGetDevicePointer_v2"):
        assert capfd.readouterr().err == ""


@pytest.mark.parametrize("after", range(4))
def test_memory_that_runs_out_keeps_what_was_there(binding, cuda_double, after):
    with open_device(0, binding) as device, device.current():
        _fail(cuda_double, binding, "cuMemAlloc_v2", 2, after)
        for _ in range(after):
            device.allocate(100)
        with pytest.raises(OutOfDeviceMemory, match=r"100 bytes of device memory: cuMemAlloc failed.*smaller batches"):
            device.allocate(100)
        assert cuda_double.live["device_bytes"] == 100 * after
        device.allocate(100)


def test_pinned_memory_that_the_device_does_not_see_is_given_back(binding, cuda_double):
    with open_device(0, binding) as device, device.current():
        cuda_double.fail("cuMemHostGetDevicePointer_v2", 801)
        with pytest.raises(InferenceError, match="8 bytes of pinned memory: cuMemHostGetDevicePointer failed"):
            device.pinned(8)
        assert cuda_double.live["pinned_allocations"] == 0


def test_what_cannot_be_freed_does_not_keep_the_rest(cuda_double):
    device = open_device(0, "cuda-python")
    with device.current():
        device.allocate(4)
        device.stream()
        device.pinned(4)
    cuda_double.fail("cuStreamDestroy_v2", 999)
    with pytest.raises(InferenceError, match="cuStreamDestroy failed"):
        device.close()
    assert cuda_double.live == {**NOTHING, "streams": 1}
    cuda_double.reset()


def test_a_gpu_that_is_lost_while_it_is_closed_is_no_error_any_more(cuda_double):
    device = open_device(0, "cuda-python")
    with device.current():
        device.allocate(4)
        device.stream()
    cuda_double.fail("cuStreamDestroy_v2", 700)
    device.close()
    assert cuda_double.live == NOTHING


def test_a_driver_that_fails_to_start_is_missing(binding, cuda_double):
    cuda_double.fail("cuInit", 803)
    with pytest.raises(MissingDependency, match="cuInit failed"):
        open_device(0, binding)
