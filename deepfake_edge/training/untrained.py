"""Seeded weights for demonstrations and tests. They are UNTRAINED: they know nothing of real or fake.

Weights fresh from an initialiser make deep networks whose outputs hardly depend on the picture, on which any
converter looks faultless. These respond to real crops: every batch normalisation has the statistics of real
crops, recurrent projections are centred on what reaches them, and the last layers read the direction in which the
windows differ most, so that the outputs reach from below 0.1 to above 0.9.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import normalise
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.face_crops import CropSet, make_crops
from deepfake_edge.training.layerwise import Values, endings, run

# Log-odds of the outermost windows: sigmoid(-3) = 0.047, sigmoid(3) = 0.953.
_REACH = 3.0
# The statistics that a Normalization layer was adapted to, and Keras's own counters.
_KEPT = frozenset({"mean", "variance", "count", "seed_generator_state"})


def seed_weights(model: Any, spec: ModelSpec, seed: int = 0, crops: CropSet | None = None) -> None:
    """Give a model weights that respond to faces; they are not trained.

    Args:
        model: a functional or Sequential Keras model, however nested, whose outputs come from Dense layers.
        spec: what it expects.
        seed: the same seed and crops give the same weights.
        crops: real crops as the spec wants them; None takes those that conversion checks parity on by default.
    Raises:
        InvalidInput: the crops are too alike for the outputs to spread.
    """
    workshop.tensorflow()
    random = np.random.Generator(np.random.PCG64(seed))
    chosen = make_crops(spec.crop, spec.clip, None) if crops is None else crops
    pictures = np.ascontiguousarray(normalise(chosen.crops, spec.crop).transpose(0, 2, 3, 1))
    for weight in model.weights:
        if weight.path.rpartition("/")[2] not in _KEPT:
            weight.assign(_seeded(weight, random))
    last = _LastLayers(model, random)

    def prepare(layer: Any, values: Values) -> None:
        if type(layer).__name__ == "BatchNormalization":
            _measure(layer, values)
        elif layer in last:
            last.spread(layer, values)
        else:
            _centre(layer, values)

    per_frame = len(model.inputs[0].shape) == 4
    outputs = run(model, [Values(pictures, None if per_frame else chosen.windows)], prepare, crop_by_crop=per_frame)
    for output in outputs:
        scores = _fake_scores(output.clips)
        if not (scores.min() <= 0.1 and scores.max() >= 0.9):
            raise InvalidInput(f"crops: too alike, the outputs only run from {scores.min():.3g} to {scores.max():.3g}")


def _seeded(weight: Any, random: np.random.Generator) -> Floats:
    name, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
    if name == "recurrent_kernel" and len(shape) == 2:
        units = shape[0]
        blocks = [np.linalg.qr(random.standard_normal((units, units)))[0] for _ in range(shape[1] // units)]
        return np.concatenate(blocks, axis=1).astype(np.float32)
    if name.endswith("kernel"):
        # He et al., "Delving Deep into Rectifiers", ICCV 2015; a depthwise kernel reads one channel only.
        fan_in = math.prod(shape[:2]) if name == "depthwise_kernel" else math.prod(shape[:-1])
        return (random.standard_normal(shape) * math.sqrt(2.0 / fan_in)).astype(np.float32)
    if name in ("gamma", "moving_variance"):
        return np.ones(shape, np.float32)
    return (random.standard_normal(shape) * 0.1).astype(np.float32)


def _measure(layer: Any, values: Values) -> None:
    """Give a batch normalisation the statistics of what reaches it."""
    momentum, layer.momentum = layer.momentum, 0.0
    try:
        layer(values.sample, training=True)
    finally:
        layer.momentum = momentum


def _centre(layer: Any, values: Values) -> None:
    """Make a recurrent layer's projections zero on average and one in size."""
    pair = [getattr(layer, name) for name in ("forward_layer", "backward_layer") if hasattr(layer, name)]
    for cell in (item.cell for item in (pair or [layer]) if hasattr(item, "cell")):
        if len(getattr(cell, "kernel", np.empty(0)).shape) != 2:
            continue
        kernel = np.asarray(cell.kernel)
        projected = values.array.reshape(-1, len(kernel)) @ kernel
        size = np.maximum(projected.std(axis=0), 1e-6)
        cell.kernel.assign(kernel / size)
        if cell.use_bias:
            bias = np.asarray(cell.bias).copy()
            np.atleast_2d(bias)[0] -= projected.mean(axis=0) / size
            cell.bias.assign(bias)


class _LastLayers:
    """The Dense layers that outputs come from; all of them put the windows into the same order."""

    def __init__(self, model: Any, random: np.random.Generator) -> None:
        self._layers = {id(layer) for layer in endings(model)}
        self._random = random
        self._order: Floats | None = None

    def __contains__(self, layer: Any) -> bool:
        return id(layer) in self._layers

    def spread(self, layer: Any, values: Values) -> None:
        """Set a layer so that its outputs reach from one end to the other; over time it is their mean that does."""
        clips = values.clips
        states = clips.reshape(len(clips), -1, clips.shape[-1]).mean(axis=1)
        direction = self._direction(states)
        along = states @ direction
        low, high = float(along.min()), float(along.max())
        gain = 2 * _REACH / max(high - low, 1e-12)
        outputs = layer.kernel.shape[1]
        kernel = self._random.standard_normal((len(direction), 1)).repeat(outputs, axis=1) * 0.01
        kernel[:, -1] += direction * gain
        if outputs == 1:
            kernel[:, 0] = direction * gain
        bias = np.zeros(outputs)
        bias[-1] = -gain * (low + high) / 2
        layer.kernel.assign(kernel.astype(np.float32))
        if layer.use_bias:
            layer.bias.assign(bias.astype(np.float32))

    def _direction(self, states: Floats) -> Floats:
        """The direction in which the windows differ most, or differ as they did for the first of the layers."""
        centred = (states - states.mean(axis=0)).astype(np.float64)
        if self._order is None:
            self._order = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
        direction = self._order @ centred
        return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-12))


def _fake_scores(outputs: Floats) -> Floats:
    """Scores of the last class from (W, C) or, as the mean over time, (W, T, C) of probabilities or logits."""
    if outputs.min() < 0 or outputs.max() > 1:
        odds = outputs[..., -1] - (outputs[..., 0] if outputs.shape[-1] > 1 else 0)
        scores = 1 / (1 + np.exp(-odds))
    else:
        scores = outputs[..., -1]
    return np.asarray(scores.reshape(len(scores), -1).mean(axis=1))
