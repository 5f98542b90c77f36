"""ONNX Runtime's CUDA provider on a real GPU: what the CPU says, from several threads, without leaks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from deepfake_edge.golden import TOLERANCE, replay
from deepfake_edge.model import Model
from deepfake_edge.runtimes.ort_cuda import OnnxRuntimeCudaNetwork
from gpu.timing import median_ms

pytestmark = pytest.mark.gpu

CALLS = 1000


@pytest.fixture
def model(bundle, precision, onnxruntime_cuda_version) -> Iterator[Model]:
    variant = bundle.variant_for(precision, "onnxruntime-cuda")
    with Model(bundle, variant, lambda graph, title: OnnxRuntimeCudaNetwork(graph, name=title)) as made:
        yield made


@pytest.mark.parametrize("batch", [1, 8, 20])
def test_it_says_what_was_proved(bundle, precision, model, batch, figure):
    found = replay(model, bundle, batch)
    assert found.own_max_diff <= TOLERANCE[precision]
    assert found.flips == 0
    what = f"largest difference of a probability, batch {batch}"
    figure(bundle.name, "onnxruntime-cuda", precision, what, f"{found.own_max_diff:.1e}")


def test_threads_get_their_own_rows(bundle, precision, model, crops):
    if model.fused:
        pytest.skip("a fused clip network has no backbone")
    wanted = {count: model.features(crops(bundle, count)) for count in range(1, 5)}
    wrong: list[int] = []

    def work(first: int) -> None:
        for turn in range(20):
            count = 1 + (first + turn) % 4
            if not np.allclose(model.features(crops(bundle, count)), wanted[count], atol=1e-3, rtol=1e-2):
                wrong.append(count)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_thousand_calls_take_no_memory(bundle, model, crops, lost_bytes):
    if model.fused:
        pytest.skip("a fused clip network has no backbone")
    for count in (1, 2):
        model.features(crops(bundle, count))

    def work() -> None:
        for turn in range(CALLS):
            model.features(crops(bundle, 1 + turn % 2))

    assert lost_bytes(work) == 0


def test_how_long_a_call_takes(bundle, precision, model, crops, figure):
    if model.fused:
        pytest.skip("a fused clip network has no backbone")
    for count in (1, 8, 16):
        batch = crops(bundle, count)
        found = median_ms(lambda batch=batch: model.features(batch))
        figure(bundle.name, "onnxruntime-cuda", precision, f"a batch of {count}", f"{found:.2f} ms")
