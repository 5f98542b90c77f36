"""A bundle's networks at work: fused clip networks, and heads that score each frame too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge.bundle import Variant
from deepfake_edge.errors import BundleError
from deepfake_edge.golden import replay
from deepfake_edge.model import Model
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from fakes import SIZE_PX, bright_means_fake, mean_head

CROP = 3 * SIZE_PX * SIZE_PX


def network(graph: bytes, name: str) -> OnnxRuntimeNetwork:
    return OnnxRuntimeNetwork(graph, name=name, threads=1)


def crops(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, SIZE_PX, SIZE_PX)).astype(np.float32)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def test_a_fused_network_says_what_the_cut_one_says():
    batch = crops(1, 4)
    found = {}
    for fused in (False, True):
        with Model(bright_means_fake(frames=4, sample_fps=10.0, fused=fused), "fp32", network) as model:
            features = model.features(batch)
            assert features.shape == (4, CROP if fused else 1)
            assert (model.fused, model.feature_size) == (fused, features.shape[1])
            found[fused] = model.outputs(features[None])
    np.testing.assert_allclose(found[True], found[False], atol=1e-6)


def test_a_fused_network_of_single_frames():
    batch = crops(2, 1)
    with Model(bright_means_fake(fused=True), "fp32", network) as model:
        (score,), _ = model.scores(model.features(batch)[None])
    assert score == pytest.approx(sigmoid(4 * batch.mean()), abs=1e-6)


def test_a_fused_network_replays_its_outputs_alone():
    bundle = bright_means_fake(frames=4, sample_fps=10.0, fused=True)
    with Model(bundle, "fp32", network) as model:
        result = replay(model, bundle)
        assert (result.features_max_diff, result.passed) == (None, True)
        bundle.variants["fp32"].golden.outputs[0] += 0.01
        assert not replay(model, bundle).passed


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_each_frame_has_its_score_at_the_same_temperature(temperature):
    windows = np.array([[[0.5], [-2.0], [1.0]], [[3.0], [0.0], [0.25]]], np.float32)
    bundle = bright_means_fake(frames=3, sample_fps=10.0, frame_outputs="frame_outputs", temperature=temperature)
    with Model(bundle, "fp32", network) as model:
        clip, frames = model.scores(windows)
    np.testing.assert_allclose(frames, sigmoid(windows[..., 0] / temperature), atol=1e-6)
    np.testing.assert_allclose(clip, sigmoid(windows.mean(axis=(1, 2)) / temperature), atol=1e-6)


def test_a_score_of_real_is_turned_round_for_each_frame_too():
    bundle = bright_means_fake(frames=2, sample_fps=10.0, frame_outputs="frame_outputs")
    bundle = replace(bundle, spec=replace(bundle.spec, classes=("real",)))
    with Model(bundle, "fp32", network) as model:
        _, frames = model.scores(np.array([[[2.0], [-1.0]]], np.float32))
    np.testing.assert_allclose(frames, 1 - sigmoid(np.array([[2.0, -1.0]])), atol=1e-6)


def test_without_frame_outputs_there_are_no_frame_scores():
    with Model(bright_means_fake(frames=2, sample_fps=10.0), "fp32", network) as model:
        assert model.scores(np.zeros((5, 2, 1), np.float32))[1].shape == (5, 0)


@pytest.mark.parametrize(
    ("variant", "match"),
    [
        (Variant(None, mean_head(3, CROP), {}), "head: wanted a float32 input"),
        (Variant(None, mean_head(2, CROP + 1), {}), "head: wanted a float32 input"),
        (Variant(None, mean_head(2, CROP, "each"), {}), "wanted a second output frame_outputs"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(variant, match):
    bundle = bright_means_fake(frames=2, sample_fps=10.0, fused=True)
    with pytest.raises(BundleError, match=match):
        Model(replace(bundle, variants={"fp32": variant}), "fp32", network)


def test_a_window_too_large_to_keep_is_refused_before_anything_is_kept():
    bundle = bright_means_fake(frames=1024, sample_fps=10.0, fused=True)
    wide = replace(bundle.spec, crop=replace(bundle.spec.crop, size_px=4096))
    with pytest.raises(BundleError, match="no device keeps that"):
        Model(replace(bundle, spec=wide), "fp32", network)
