"""CUDA graphs over the driver double: recorded once, launched often, and done without where the driver refuses."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from deepfake_edge.errors import DeviceLost, InferenceError


@pytest.fixture
def current(device):
    with device.current():
        yield device


@pytest.fixture
def stream(current):
    return current.stream()


@pytest.fixture
def memory(current):
    return current.allocate(4)


def _still_works(device, stream, memory) -> bool:
    out = np.zeros(4, np.uint8)
    values = np.array([1, 2, 3, 4], np.uint8)
    device.copy_to_device(memory.address, values, stream)
    graph = device.capture(stream, lambda: device.copy_from_device(out, memory.address, stream))
    graph.launch(stream)
    stream.synchronize()
    return bool((out == values).all())


def test_what_is_recorded_runs_at_each_launch_alone(current, stream, memory):
    host, out = np.zeros(4, np.uint8), np.zeros(4, np.uint8)

    def work() -> None:
        current.copy_to_device(memory.address, host, stream)
        current.copy_from_device(out, memory.address, stream)

    graph = current.capture(stream, work)
    host[:] = 1
    stream.synchronize()
    assert out.tolist() == [0] * 4
    for number in (5, 6):
        host[:] = number
        graph.launch(stream)
        assert out[0] != number
        stream.synchronize()
        assert out.tolist() == [number] * 4


def test_a_graph_may_be_launched_on_another_stream_and_twice(current, stream, cuda_double):
    ran = []
    graph = current.capture(stream, lambda: cuda_double.enqueue(stream.handle, lambda: ran.append(1)))
    with current.stream() as other:
        graph.launch(other)
        graph.launch(other)
        other.synchronize()
    assert ran == [1, 1]
    graph.free()


def test_graphs_are_freed(current, stream, cuda_double):
    for _ in range(20):
        with current.capture(stream, lambda: None) as graph:
            graph.launch(stream)
    assert cuda_double.live["graphs"] == 0


def _waits(device, stream):
    stream.synchronize()


def _allocates(device, stream):
    device.allocate(4)


def _pins(device, stream):
    device.pinned(4)


def _fails(device, stream):
    raise InferenceError("no")


@pytest.mark.parametrize(
    ("forbidden", "caught"),
    [(_waits, False), (_waits, True), (_allocates, False), (_allocates, True), (_pins, False), (_fails, False)],
)
def test_what_cannot_be_recorded_gives_no_graph_and_does_no_harm(
    current, stream, memory, cuda_double, caplog, forbidden, caught
):
    """Also where `work` itself takes the refusal for done."""

    def work() -> None:
        try:
            forbidden(current, stream)
        except InferenceError:
            if not caught:
                raise

    before = cuda_double.live
    with caplog.at_level(logging.INFO):
        assert current.capture(stream, work) is None
    assert "no CUDA graph" in caplog.text
    assert cuda_double.live == before
    assert _still_works(current, stream, memory)


@pytest.mark.parametrize("function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"])
@pytest.mark.parametrize("error", [2, 801, 900, 999])
def test_a_driver_that_records_nothing_gives_no_graph(current, stream, cuda_double, function, error):
    cuda_double.fail(function, error)
    assert current.capture(stream, lambda: None) is None
    assert cuda_double.live["graphs"] == 0


def test_memory_of_others_may_be_allocated_while_a_thread_records(current, stream, cuda_double):
    def allocate() -> None:
        with current.current():
            current.allocate(4).free()

    def work() -> None:
        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()
        cuda_double.enqueue(stream.handle, lambda: None)

    assert current.capture(stream, work) is not None


def test_an_error_that_is_no_refusal_comes_through(current, stream, memory):
    def work() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        current.capture(stream, work)
    assert _still_works(current, stream, memory)


@pytest.mark.parametrize(
    "function",
    ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuMemcpyDtoHAsync_v2"],
)
def test_a_lost_gpu_is_no_refusal(current, stream, memory, cuda_double, function):
    cuda_double.fail(function, 700)
    out = np.zeros(4, np.uint8)
    with pytest.raises(DeviceLost):
        current.capture(stream, lambda: current.copy_from_device(out, memory.address, stream))
