"""Seeded weights for demonstrations and tests. They are UNTRAINED: they know nothing of real or fake.

Weights fresh from an initialiser make deep networks whose outputs hardly depend on the picture, on which any
converter looks faultless. These respond to real crops: every batch normalisation has the statistics of real
crops, the recurrent layer's projection is centred on them, and the last layer reads the direction in which the
windows differ most, so that the outputs reach from below 0.1 to above 0.9.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import normalise
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.face_crops import CropSet, make_crops

_STATISTICS_CROPS = 8
_BATCH = 4
# Log-odds of the outermost windows: sigmoid(-3) = 0.047, sigmoid(3) = 0.953.
_REACH = 3.0


def seed_weights(model: Any, spec: ModelSpec, seed: int = 0, crops: CropSet | None = None) -> None:
    """Give a model weights that respond to faces; they are not trained.

    Args:
        model: a functional or Sequential Keras model whose last layer is a Dense of sigmoid or softmax; a clip
            model is a chain whose first layers are TimeDistributed.
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
        if "seed_generator" not in weight.path:
            weight.assign(_seeded(weight, random))
    values = _through_frames(model, pictures)
    if values is not None:
        values = values[chosen.windows]
        _centre_projection(model, values)
    _spread(model, values if values is not None else pictures, random)


def _seeded(weight: Any, random: np.random.Generator) -> Floats:
    name, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
    if name == "recurrent_kernel":
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


def _through_frames(model: Any, pictures: Floats) -> Floats | None:
    """Set the statistics of every batch normalisation; give the features of each crop, None for a per-frame model."""
    chosen = np.linspace(0, len(pictures) - 1, _STATISTICS_CROPS).round().astype(int)
    if len(model.input_shape) == 4:
        with _measuring(model):
            model(pictures[chosen], training=True)
        return None
    statistics, features = pictures[chosen], pictures
    for layer in (item.layer for item in _leading(model)):
        trained = bool(list(_batch_normalisations(layer)))
        with _measuring(layer):
            statistics = np.asarray(layer(statistics, training=True) if trained else layer(statistics))
        features = np.concatenate(
            [np.asarray(layer(features[at : at + _BATCH])) for at in range(0, len(features), _BATCH)]
        )
    return features


def _leading(model: Any) -> list[Any]:
    """The TimeDistributed layers that a clip meets first."""
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    return list(takewhile(lambda layer: type(layer).__name__ == "TimeDistributed", layers))


@contextmanager
def _measuring(model: Any) -> Iterator[None]:
    """Within this, a pass with training=True replaces the statistics and drops nothing."""
    kept = [(layer, "momentum", layer.momentum) for layer in _batch_normalisations(model)]
    kept += [(layer, "rate", layer.rate) for layer in _flat(model) if type(layer).__name__ == "Dropout"]
    try:
        for layer, name, _ in kept:
            setattr(layer, name, 0.0)
        yield
    finally:
        for layer, name, value in kept:
            setattr(layer, name, value)


def _batch_normalisations(layer: Any) -> Iterator[Any]:
    return (item for item in _flat(layer) if type(item).__name__ == "BatchNormalization")


def _flat(layer: Any) -> Iterator[Any]:
    yield layer
    for item in getattr(layer, "layers", ()):
        yield from _flat(item)
    if type(layer).__name__ == "TimeDistributed":
        yield from _flat(layer.layer)


def _centre_projection(model: Any, windows: Floats) -> None:
    """Make the first recurrent layer's projections zero on average and one in size over the windows."""
    for layer in model.layers:
        pair = [getattr(layer, name) for name in ("forward_layer", "backward_layer") if hasattr(layer, name)]
        cells = [item.cell for item in (pair or [layer]) if hasattr(item, "cell")]
        if not cells:
            continue
        taken = _between(model, layer.input, windows)
        for cell in cells:
            projected = taken.reshape(-1, taken.shape[-1]) @ np.asarray(cell.kernel)
            size = np.maximum(projected.std(axis=0), 1e-6)
            cell.kernel.assign(np.asarray(cell.kernel) / size)
            if cell.use_bias:
                bias = np.asarray(cell.bias).copy()
                np.atleast_2d(bias)[0] -= projected.mean(axis=0) / size
                cell.bias.assign(bias)
        return


def _between(model: Any, tensor: Any, values: Floats) -> Floats:
    """What a symbolic tensor of the model is for these inputs of what follows its frames (or of the model)."""
    leading = _leading(model)
    start = leading[-1].output if leading else model.inputs[0]
    if tensor is start:
        return values
    part = workshop.keras().Model(start, tensor)
    return np.concatenate([np.asarray(part(values[at : at + _BATCH])) for at in range(0, len(values), _BATCH)])


def _spread(model: Any, values: Floats, random: np.random.Generator) -> None:
    """Set the last layer so that its outputs over `values` reach from one end to the other."""
    last = model.layers[-1]
    states = _between(model, last.input, values)
    centred = (states - states.mean(axis=0)).astype(np.float64)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    direction = direction * np.sign(direction[np.abs(direction).argmax()])
    along = states @ direction
    low, high = float(along.min()), float(along.max())
    gain = 2 * _REACH / max(high - low, 1e-12)
    outputs = last.kernel.shape[1]
    kernel = random.standard_normal((len(direction), 1)).repeat(outputs, axis=1) * 0.01
    kernel[:, -1] += direction * gain
    if outputs == 1:
        kernel[:, 0] = direction * gain
    bias = np.zeros(outputs)
    bias[-1] = -gain * (low + high) / 2
    last.kernel.assign(kernel.astype(np.float32))
    last.bias.assign(bias.astype(np.float32))
    scores = np.concatenate([np.asarray(last(states[at : at + _BATCH])) for at in range(0, len(states), _BATCH)])[:, -1]
    if not (scores.min() <= 0.1 and scores.max() >= 0.9):
        raise InvalidInput(f"crops: too alike, the outputs only run from {scores.min():.3g} to {scores.max():.3g}")
