"""The driver double can fail: each way to use a GPU wrongly shows."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from deepfake_edge.errors import DeviceLost, InferenceError
from doubles.cuda import CudaDoubleError

ILLEGAL_ADDRESS = 700


@pytest.fixture
def current(device):
    with device.current():
        yield device


def test_a_copy_happens_when_its_stream_is_waited_for(current, cuda_double):
    memory, stream = current.allocate(16), current.stream()
    host = np.arange(4, dtype=np.float32)
    current.copy_to_device(memory.address, host, stream)
    assert np.isnan(np.frombuffer(cuda_double.read(memory.address, 16), np.float32)).all()
    stream.synchronize()
    assert np.frombuffer(cuda_double.read(memory.address, 16), np.float32).tolist() == [0, 1, 2, 3]


def test_without_waiting_the_host_sees_stale_numbers(current):
    memory, stream = current.allocate(16), current.stream()
    out = np.full(4, 7, np.float32)
    current.copy_to_device(memory.address, np.zeros(4, np.float32), stream)
    current.copy_from_device(out, memory.address, stream)
    assert out.tolist() == [7, 7, 7, 7]


def test_a_host_buffer_that_is_overwritten_too_early_is_what_arrives(current, cuda_double):
    memory, stream = current.allocate(4), current.stream()
    host = np.array([1, 2, 3, 4], np.uint8)
    current.copy_to_device(memory.address, host, stream)
    host[:] = 9
    stream.synchronize()
    assert cuda_double.read(memory.address, 4) == bytes([9, 9, 9, 9])


def test_waiting_for_one_stream_runs_no_other(current, cuda_double):
    memory, one, other = current.allocate(1), current.stream(), current.stream()
    current.copy_to_device(memory.address, np.array([1], np.uint8), one)
    other.synchronize()
    assert cuda_double.read(memory.address, 1) == b"\xff"


@pytest.mark.parametrize("offset", [-1, 1, 512, 10**6])
def test_an_address_that_does_not_fit_loses_the_context(current, cuda_double, offset):
    memory, stream = current.allocate(16), current.stream()
    current.copy_to_device(memory.address + offset, np.zeros(16, np.uint8), stream)
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()
    assert cuda_double.sticky == ILLEGAL_ADDRESS


def test_an_address_of_the_host_is_none_of_the_device(current):
    stream = current.stream()
    host = np.zeros(16, np.uint8)
    current.copy_to_device(host.ctypes.data, host, stream)
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()


def test_memory_that_is_freed_too_early_loses_the_context(current):
    memory, stream = current.allocate(16), current.stream()
    current.copy_to_device(memory.address, np.zeros(16, np.uint8), stream)
    memory.free()
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()


def test_pinned_memory_that_is_freed_too_early_loses_the_context(current):
    memory, pinned, stream = current.allocate(16), current.pinned(16), current.stream()
    current.copy_to_device(memory.address, pinned.array, stream)
    pinned.free()
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()


def test_an_address_is_never_given_twice(current):
    addresses = []
    for _ in range(100):
        with current.allocate(16) as memory:
            addresses.append(memory.address)
    assert len(set(addresses)) == 100


def test_work_of_python_runs_in_order_and_sees_the_copies_before_it(current, cuda_double):
    memory, stream = current.allocate(2), current.stream()
    seen, host = [], np.array([1, 2], np.uint8)
    current.copy_to_device(memory.address, host, stream)
    cuda_double.enqueue(stream.handle, lambda: seen.append(cuda_double.read(memory.address, 2)))
    cuda_double.enqueue(stream.handle, lambda: cuda_double.write(memory.address, b"\x03\x04"))
    out = np.zeros(2, np.uint8)
    current.copy_from_device(out, memory.address, stream)
    assert seen == []
    stream.synchronize()
    assert seen == [b"\x01\x02"]
    assert out.tolist() == [3, 4]


def test_work_that_reads_outside_loses_the_context(current, cuda_double):
    memory, stream = current.allocate(2), current.stream()
    cuda_double.enqueue(stream.handle, lambda: cuda_double.read(memory.address, 3))
    with pytest.raises(DeviceLost, match="ILLEGAL_ADDRESS"):
        stream.synchronize()


def test_work_that_raises_is_a_failed_launch_and_is_remembered(current, cuda_double):
    stream = current.stream()
    cuda_double.enqueue(stream.handle, lambda: 1 / 0)
    with pytest.raises(DeviceLost, match="LAUNCH_FAILED"):
        stream.synchronize()
    (error,) = cuda_double.errors
    assert isinstance(error, ZeroDivisionError)
    cuda_double.errors.clear()


@pytest.mark.parametrize("handle", [0, 1, 12345])
def test_there_is_no_default_stream(current, cuda_double, handle):
    with pytest.raises(CudaDoubleError) as caught:
        cuda_double.enqueue(handle, lambda: None)
    assert caught.value.code == 400


def test_work_needs_a_current_context(device, cuda_double):
    with device.current():
        stream = device.stream()
        handle = stream.handle
    with pytest.raises(CudaDoubleError) as caught:
        cuda_double.enqueue(handle, lambda: None)
    assert caught.value.code == 201


def test_work_on_a_stream_that_is_freed_is_lost(current, cuda_double):
    ran = []
    with current.stream() as stream:
        cuda_double.enqueue(stream.handle, lambda: ran.append(1))
    assert ran == []


def test_memory_runs_out(cuda_double, device):
    cuda_double.facts(memory_bytes=1000)
    with device.current():
        device.allocate(600)
        with pytest.raises(InferenceError, match="out of memory"):
            device.allocate(401)
        assert device.memory_info() == (400, 1000)


def test_what_is_left_is_counted(device, cuda_double):
    with device.current():
        device.allocate(100)
        device.pinned(10)
        stream = device.stream()
        graph = device.capture(stream, lambda: None)
        assert cuda_double.live == {
            "device_bytes": 100,
            "device_allocations": 1,
            "pinned_allocations": 1,
            "streams": 1,
            "graphs": 1,
            "modules": 0,
            "contexts": 1,
        }
        graph.free()
        assert cuda_double.live["graphs"] == 0


def test_a_failure_comes_at_the_call_that_was_asked_for(device, cuda_double):
    cuda_double.fail("cuMemGetInfo_v2", 999, after=2, times=2)
    outcomes = []
    with device.current():
        for _ in range(6):
            try:
                device.memory_info()
                outcomes.append("ok")
            except InferenceError:
                outcomes.append("failed")
    assert outcomes == ["ok", "ok", "failed", "failed", "ok", "ok"]
    assert cuda_double.failures_left == 0


def test_outside_a_test_there_is_no_gpu(cuda_double):
    cuda_double.reset(enabled=False)
    assert ctypes.CDLL("libcuda.so.1").cuInit(0) == 100
