"""The gate on the device: an engine that is wrong anywhere, in any place of a batch, is not kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge.engines.gate import filled, prove
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.errors import DeviceLost, InferenceError, OutOfDeviceMemory
from deepfake_edge.model import Model
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from fakes import bright_means_fake

PROFILE = BatchProfile(1, 3, 7)
CLIP = {"frames": 4, "sample_fps": 10.0}
FUSED = {**CLIP, "fused": True}
KINDS = [{}, CLIP, FUSED]
PARTS = [({}, "backbone"), (CLIP, "backbone"), (CLIP, "head"), (FUSED, "head")]


class Odd:
    """ONNX Runtime with something wrong about it: `change(outputs, batch)`, and a note of every batch."""

    def __init__(self, graph, title, change) -> None:
        self._network = OnnxRuntimeNetwork(graph, name=title)
        self.inputs, self.outputs = self._network.inputs, self._network.outputs
        self.title, self.change, self.batches = title, change, []

    def run(self, feeds):
        (batch,) = {len(value) for value in feeds.values()}
        self.batches.append(batch)
        return {name: self.change(value, batch) for name, value in self._network.run(feeds).items()}

    def close(self) -> None:
        self._network.close()


def proved(bundle, change=lambda outputs, _: outputs, precision="fp32", part=""):
    """Prove a bundle's networks with something wrong about those whose title has `part`."""
    made = []

    def network(graph, title):
        made.append(Odd(graph, title, change if part in title else lambda outputs, _: outputs))
        return made[-1]

    with Model(bundle, precision, network, precision) as model:
        return prove(model, bundle, PROFILE), made


@pytest.mark.parametrize("kind", KINDS)
def test_right_engines_pass_at_every_batch_and_each_batch_is_full(kind):
    proof, networks = proved(bright_means_fake(**kind))
    assert {batch for network in networks for batch in network.batches} == set(PROFILE.sizes)
    figures = proof.figures()
    assert list(figures["by_batch"]) == ["1", "3", "7"]
    assert figures["own_max_diff"] < 1e-6
    assert figures["flips"] == 0


def only_at(batch: int, change):
    return lambda outputs, size: change(outputs) if size == batch else outputs


def nudged(place: int):
    def change(outputs):
        outputs = outputs.copy()
        outputs[place % len(outputs)] += 0.3
        return outputs

    return change


@pytest.mark.parametrize(("kind", "part"), PARTS)
@pytest.mark.parametrize("place", range(7))
def test_one_wrong_place_of_one_batch_is_enough(kind, part, place):
    bundle = bright_means_fake(**kind)
    with pytest.raises(InferenceError, match=r"not kept.*at batch 7: outputs differ by up to [1-9].*e-0[12]"):
        proved(bundle, only_at(7, nudged(place)), part=part)


@pytest.mark.parametrize(
    ("batch", "change"),
    [
        (1, nudged(0)),
        (3, lambda outputs: np.roll(outputs, 1, axis=0)),
        (7, lambda outputs: outputs[::-1]),
        (7, lambda outputs: np.repeat(outputs[:1], len(outputs), axis=0)),
        (3, lambda outputs: np.full_like(outputs, np.nan)),
        (3, lambda outputs: np.full_like(outputs, np.inf)),
    ],
)
def test_mixed_up_or_non_finite_numbers_are_not_kept(batch, change):
    with pytest.raises(InferenceError, match=f"at batch {batch}"):
        proved(bright_means_fake(), only_at(batch, change))


@pytest.mark.parametrize(("by", "passes"), [(3e-3, True), (8e-3, False)])
def test_fp16_has_its_own_tolerance(by, passes):
    bundle = bright_means_fake()
    bundle = replace(bundle, variants={"fp16": bundle.variants["fp32"]})
    change = only_at(3, lambda outputs: outputs - np.float32(by))
    if passes:
        assert proved(bundle, change, "fp16")[0].figures()["own_max_diff"] == pytest.approx(by, rel=1e-3)
        return
    with pytest.raises(InferenceError, match=r"--precision fp32.*--gate fp16"):
        proved(bundle, change, "fp16")


@pytest.mark.parametrize("kind", [OutOfDeviceMemory, DeviceLost])
def test_a_gpu_that_fails_is_told_apart_from_an_engine_that_is_wrong(kind):
    def fail(_):
        raise kind("the GPU failed")

    with pytest.raises(kind, match=r"^the GPU failed$"):
        proved(bright_means_fake(), only_at(3, fail))


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 30])
@pytest.mark.parametrize("kind", KINDS)
def test_filled_batches_hold_the_golden_crops_and_nothing_else(batch, kind):
    bundle = bright_means_fake(**kind)
    golden, own = filled(bundle, "fp32", batch).golden, filled(bundle, "fp32", batch).variants["fp32"].golden
    assert len(golden.crops) % batch == len(golden.windows) % batch == 0
    assert len(golden.crops) >= 4
    assert set(golden.windows.ravel()) == set(range(len(golden.crops)))
    np.testing.assert_array_equal(golden.crops[:4], bundle.golden.crops)
    first = bundle.golden.crops[bundle.golden.windows % 4]
    for window, outputs in zip(golden.crops[golden.windows], own.outputs, strict=True):
        (same,) = np.nonzero((first == window).all(axis=(1, 2, 3, 4)))
        np.testing.assert_array_equal(bundle.golden.outputs[same[0]], outputs)
