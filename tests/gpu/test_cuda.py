"""The CUDA layer on a real GPU, over each binding."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from deepfake_edge.cuda.device import BINDINGS, Device, open_device
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput, OutOfDeviceMemory

pytestmark = pytest.mark.gpu

SIZE = 1 << 20


@pytest.fixture(params=BINDINGS)
def bound(request, device) -> Iterator[Device]:
    """The GPU again, through one binding."""
    try:
        opened = open_device(0, request.param)
    except DeepfakeEdgeError as error:
        pytest.skip(f"no {request.param}: {error}")
    with opened:
        assert opened.binding == request.param
        yield opened


def around(device: Device, given: np.ndarray) -> np.ndarray:
    """To the device and back."""
    found = np.zeros_like(given)
    with device.allocate(given.nbytes) as memory, device.stream() as stream:
        device.copy_to_device(memory.address, given, stream)
        device.copy_from_device(found, memory.address, stream)
        stream.synchronize()
    return found


def test_what_goes_there_comes_back(bound):
    given = np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)
    with bound.current():
        np.testing.assert_array_equal(around(bound, given), given)


def test_pinned_memory_is_the_same_for_both(bound):
    given = np.random.default_rng(1).integers(0, 256, SIZE, np.uint8)
    found = np.zeros_like(given)
    with bound.current(), bound.pinned(SIZE) as pinned, bound.stream() as stream:
        pinned.array[:] = given
        bound.copy_from_device(found, pinned.device_address, stream)
        stream.synchronize()
    np.testing.assert_array_equal(found, given)


def test_a_graph_copies_what_is_there_when_it_is_launched(bound):
    with (
        bound.current(),
        bound.pinned(SIZE) as source,
        bound.pinned(SIZE) as target,
        bound.allocate(SIZE) as memory,
        bound.stream() as stream,
    ):

        def work() -> None:
            bound.copy_to_device(memory.address, source.array, stream)
            bound.copy_from_device(target.array, memory.address, stream)

        graph = bound.capture(stream, work)
        assert graph is not None
        with graph:
            for value in (1, 2, 3):
                source.array[:] = value
                graph.launch(stream)
                stream.synchronize()
                assert (target.array == value).all()


def test_threads_with_their_own_streams(bound):
    wrong: list[int] = []

    def work(seed: int) -> None:
        with bound.current():
            for turn in range(20):
                given = np.full(SIZE, (seed * 20 + turn) % 251, np.uint8)
                if not np.array_equal(around(bound, given), given):
                    wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_memory_than_there_is(bound):
    with bound.current():
        with pytest.raises(OutOfDeviceMemory):
            bound.allocate(4 * bound.facts.memory_bytes)
        given = np.arange(100, dtype=np.uint8)
        np.testing.assert_array_equal(around(bound, given), given)


def test_what_is_freed_comes_back(bound):
    with bound.current():
        around(bound, np.zeros(SIZE, np.uint8))
        before = bound.memory_info()[0]
        for _ in range(200):
            around(bound, np.zeros(SIZE, np.uint8))
        assert before - bound.memory_info()[0] < 4 * SIZE


def test_a_gpu_that_is_not_there(device):
    with pytest.raises(InvalidInput):
        open_device(999)
