"""TensorRT on a real GPU: engines are built, say what ONNX Runtime says, in every way to run them, and leak nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.golden import TOLERANCE
from deepfake_edge.gpu import build_engines
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.runtimes.trt import TensorRtNetwork
from gpu.timing import median_ms

pytestmark = pytest.mark.gpu

CALLS = 1000
# Of a feature, as a share of the largest one; the gate judges probabilities.
FEATURE_SHARE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 1e-1}


@pytest.fixture
def report(bundle, precision, tensorrt):
    """Both engines, built the first time they are asked for."""
    return build_engines(bundle, precision)


@pytest.fixture
def plan(report) -> bytes:
    """The backbone's, or the only one's."""
    return Path(report.engines[0].path).read_bytes()


@pytest.fixture
def network(plan, device, report) -> Iterator[TensorRtNetwork]:
    made = TensorRtNetwork(plan, device, name=report.engines[0].sidecar.part)
    yield made
    made.close()


def feeds_of(network, bundle, crops, count: int) -> dict[str, np.ndarray]:
    (port,) = network.inputs
    if len(port.shape) == 4:
        return {port.name: crops(bundle, count)}
    shape = [count, *(axis for axis in port.shape[1:] if axis is not None)]
    return {port.name: np.random.default_rng(count).uniform(-1, 1, shape).astype(np.float32)}


def reference_of(bundle, precision) -> OnnxRuntimeNetwork:
    variant = bundle.variants[bundle.variant_for(precision, "tensorrt")]
    return OnnxRuntimeNetwork(variant.backbone or variant.head, name="reference")


def test_they_are_built_and_say_what_was_proved(bundle, precision, report, figure):
    gate = report.engines[0].sidecar.gate
    assert gate["own_max_diff"] <= TOLERANCE[precision]
    assert gate["flips"] == 0
    built_s = sum(engine.sidecar.build_s for engine in report.engines)
    figure(bundle.name, "tensorrt", precision, "build", f"{built_s:.1f} s")
    figure(bundle.name, "tensorrt", precision, "largest difference of a probability", f"{gate['own_max_diff']:.1e}")


def test_a_second_build_builds_nothing(bundle, precision, report):
    assert build_engines(bundle, precision).up_to_date


@pytest.mark.parametrize("graphs", [False, True], ids=["plain", "graphs"])
@pytest.mark.parametrize("memory", ["copied", "mapped"])
def test_every_batch_gives_what_onnx_runtime_gives(bundle, precision, plan, device, crops, graphs, memory, figure):
    network = TensorRtNetwork(plan, device, name="x", graphs=graphs, memory=memory)
    reference = reference_of(bundle, precision)
    worst = 0.0
    try:
        for count in (1, 2, network.most_rows, network.most_rows + 3, 1):
            feeds = feeds_of(network, bundle, crops, count)
            wanted = reference.run(feeds)
            # Twice: the second is the one that replays a graph.
            for given in (network.run(feeds), network.run(feeds)):
                for name, value in wanted.items():
                    assert np.isfinite(given[name]).all()
                    worst = max(worst, float(np.abs(given[name] - value).max() / np.abs(value).max()))
    finally:
        network.close()
    assert worst <= FEATURE_SHARE[precision]
    how = f"largest difference, {memory}, {'graphs' if graphs else 'plain'}"
    figure(bundle.name, "tensorrt", precision, how, f"{worst:.1e} of the largest")


def test_threads_get_their_own_rows(bundle, precision, network, crops):
    wanted = {count: network.run(feeds_of(network, bundle, crops, count)) for count in range(1, 6)}
    wrong: list[int] = []

    def work(first: int) -> None:
        for turn in range(50):
            count = 1 + (first + turn) % 5
            given = network.run(feeds_of(network, bundle, crops, count))
            for name, value in wanted[count].items():
                if not np.allclose(given[name], value, rtol=0, atol=FEATURE_SHARE[precision] * np.abs(value).max()):
                    wrong.append(count)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_thousand_calls_and_ten_networks_take_no_memory(bundle, plan, device, crops, network, lost_bytes):
    feeds = feeds_of(network, bundle, crops, 2)
    network.run(feeds)
    TensorRtNetwork(plan, device, name="x").close()

    def work() -> None:
        for _ in range(CALLS):
            network.run(feeds)
        for _ in range(10):
            TensorRtNetwork(plan, device, name="x").close()

    assert lost_bytes(work) == 0


def test_how_long_a_call_takes(bundle, precision, network, crops, figure):
    for count in sorted({1, 8, network.most_rows}):
        feeds = feeds_of(network, bundle, crops, count)
        found = median_ms(lambda feeds=feeds: network.run(feeds))
        figure(bundle.name, "tensorrt", precision, f"a batch of {count}, memory {network.memory}", f"{found:.2f} ms")
