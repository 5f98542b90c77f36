"""How rows reach the GPU, over doubles of CUDA and TensorRT: copied, or mapped where that was measured faster."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from deepfake_edge.cuda.device import open_device
from unit.trt.engines import MOST, Engines, rows

COPIES = ("cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyAsync")


def copies(engines: Engines) -> int:
    return sum(engines.cuda.calls.count(name) for name in COPIES)


class Clock:
    """Stands still but while a call of the slow way runs, which takes a second."""

    def __init__(self, engines: Engines, slow: str) -> None:
        self._engines, self._slow = engines, slow
        self._now_s, self._copies = 0.0, copies(engines)

    def __call__(self) -> float:
        now = copies(self._engines)
        if (now > self._copies) == (self._slow == "copied"):
            self._now_s += 1.0
        self._copies = now
        return self._now_s


@pytest.fixture
def integrated(cuda_double, tensorrt_double):
    """As on Jetson: the GPU shares the CPU's memory."""
    cuda_double.facts(integrated=True)
    with open_device() as device:
        engines = Engines(device, tensorrt_double, cuda_double)
        yield engines
        for network in engines.networks:
            network.close()
        engines.nothing_is_left()


def check(network, engines, expected, copies_a_call):
    before = copies(engines)
    for count in (1, MOST, 1, 3, 1):
        found = network.run({"crops": rows(count)})
        for name, value in expected(rows(count)).items():
            np.testing.assert_array_equal(found[name], value)
    assert copies(engines) == before + 5 * copies_a_call


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "plain"])
def test_mapped_memory_is_not_copied(engines, expected, graphs):
    network = engines.network(engines.plan(batch=(2, 4, MOST)), memory="mapped", graphs=graphs)
    assert network.memory == "mapped"
    # The engine itself, and its scratch memory.
    assert engines.cuda.live["device_allocations"] == 2
    check(network, engines, expected, 0)


def test_a_gpu_with_its_own_memory_is_copied_to(engines, expected):
    network = engines.network()
    assert network.memory == "copied"
    check(network, engines, expected, 3)


@pytest.mark.parametrize("slow", ["copied", "mapped"])
def test_on_a_shared_memory_the_faster_way_is_taken(integrated, expected, monkeypatch, caplog, slow):
    clock = Clock(integrated, slow)
    monkeypatch.setattr("deepfake_edge.runtimes.trt.time.perf_counter", clock)
    with caplog.at_level(logging.INFO, "deepfake_edge.runtimes.trt"):
        network = integrated.network()
    taken = {"copied": "mapped", "mapped": "copied"}[slow]
    assert network.memory == taken
    assert f"tiny: memory {taken}, the faster of copied" in caplog.text
    check(network, integrated, expected, 3 if taken == "copied" else 0)


def test_what_is_asked_for_is_not_measured(integrated, expected, monkeypatch):
    monkeypatch.setattr("deepfake_edge.runtimes.trt.time.perf_counter", None)
    check(integrated.network(memory="copied"), integrated, expected, 3)
    check(integrated.network(memory="mapped"), integrated, expected, 0)


def test_rows_made_on_the_device_reach_mapped_memory(integrated, expected):
    network = integrated.network(memory="mapped")

    def fill(address, stream):
        integrated.device.copy_to_device(address, rows(3), stream)

    np.testing.assert_array_equal(network.run_on_device(3, fill)["features"], expected(rows(3))["features"])


def test_the_choice_leaves_nothing_where_it_fails(integrated):
    for after in range(4):
        integrated.cuda.fail("cuMemHostAlloc", 2, after)
        with pytest.raises(Exception, match="out of memory"):
            integrated.network()
        integrated.nothing_is_left()
