"""Which layers treat the frames of a clip one by one, and how to run them without the time axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from deepfake_edge.converters.cutting.recurrence import is_recurrent, objections, read_recurrence, unrolled
from deepfake_edge.converters.cutting.steps import Graph, Step, at_inference, graph_of, shows_its_graph
from deepfake_edge.training.workshop import keras, tensorflow

Apply: TypeAlias = Callable[[Mapping[int, Any]], Any]

# The same function of (N, F) as of (N, T, F).
_ANY_RANK = frozenset({
    "Activation", "ActivityRegularization", "AlphaDropout", "Dense", "Dropout", "ELU", "GaussianDropout",
    "GaussianNoise", "Identity", "LeakyReLU", "ReLU", "Rescaling", "SpatialDropout1D",
})  # fmt: skip
_MERGES = frozenset({"Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"})
# Operations of keras.ops on one or two arrays, number by number; some bear the names of layers.
_ARITHMETIC = frozenset({
    "Absolute", "Add", "Divide", "Exp", "Gelu", "Maximum", "Minimum", "Multiply", "Negative", "Relu", "Sigmoid", "Silu",
    "Sqrt", "Square", "Subtract", "Tanh", "TrueDivide",
})  # fmt: skip
_ALONG_AN_AXIS = frozenset({
    "BatchNormalization", "Concatenate", "LayerNormalization", "Normalization", "RMSNormalization", "Softmax",
    "UnitNormalization",
})  # fmt: skip


def framewise(step: Step, frames: int) -> Apply | None:
    """How to compute a step on frames (N, ...) rather than on clips (B, frames, ...).

    Returns:
        a function of {value number: tensor (N, ...)}, or None when the step mixes frames or is not known not to.
    """
    layer, kind = step.layer, step.kind
    if not type(layer).__module__.startswith("keras."):
        return None
    if not isinstance(layer, keras().layers.Layer):
        return step.apply if kind in _ARITHMETIC and _same_rank(step) and _constants_spare_time(step) else None
    if step.constants:
        return None
    if kind == "TimeDistributed":
        return _inner(step)
    if kind == "Reshape":
        return _reshape(step, frames)
    if kind in _ANY_RANK and len(step.shape) >= 3:
        return _with_time_axis(step) if kind == "SpatialDropout1D" else step.apply
    if kind in _MERGES and len(step.inputs) >= 2 and _same_rank(step):
        return step.apply
    if kind in _ALONG_AN_AXIS and _keeps_time_apart(step):
        return _batch_normalisation(step) or _with_time_axis(step)
    if kind == "PReLU" and step.layer.alpha.shape[0] == 1:
        return _with_time_axis(step)
    return step.apply if is_augmentation(layer) and _same_rank(step) else None


def is_augmentation(layer: Any) -> bool:
    """Whether a layer of the "Random..." kind gives at inference what it takes; RandomCrop resizes even then."""
    kind = type(layer).__name__
    return (kind.startswith("Random") and kind != "RandomCrop") or kind in ("AugMix", "CutMix", "MixUp", "RandAugment")


def evaluate(graph: Graph, value: Any) -> tuple[Any, ...]:
    """Run a whole graph on a batch; gives its outputs. See `apply_step`."""
    values = {0: value}
    for step in graph.steps:
        values[step.output] = apply_step(step, values)
    return tuple(values[number] for number in graph.outputs)


def apply_step(step: Step, values: Mapping[int, Any]) -> Any:
    """Run one step as its layer does, but for reshapes and loops, in words that ONNX has no trouble with.

    Keras reshapes to (size of the batch, ...), which becomes five operators of shape arithmetic in ONNX; (-1, ...)
    says the same in one. Recurrent layers are unrolled.
    """
    plain = _plain(step.layer, step.shape[1:]) if len(step.inputs) == 1 and not step.constants else None
    if plain is not None:
        return plain(values[step.inputs[0]])
    with unrolled(step.layer):
        return step.apply(values)


def _plain(layer: Any, axes: tuple[int | None, ...]) -> Callable[[Any], Any] | None:
    """Other words for a layer that gives (batch, *axes); None where its own are fine."""
    kind = type(layer).__name__
    if not isinstance(layer, keras().layers.Layer):
        return None
    if kind in ("Flatten", "Reshape") and None not in axes and getattr(layer, "data_format", None) != "channels_first":
        return lambda value: tensorflow().reshape(value, (-1, *axes))
    if is_recurrent(layer) and not objections(layer):
        # Weights can be read outside of a trace only.
        with tensorflow().init_scope():
            recurrence = read_recurrence(layer)
        return lambda value: recurrence.run(recurrence.project(value))
    return None


def _inner(step: Step) -> Apply:
    layer = step.layer.layer
    if shows_its_graph(layer):
        graph = graph_of(layer)
        return lambda values: evaluate(graph, values[step.inputs[0]])[0]
    plain = _plain(layer, step.shape[2:])
    if plain is not None:
        return lambda values: plain(values[step.inputs[0]])
    return lambda values: _without_loops(layer, values[step.inputs[0]])


def _without_loops(layer: Any, value: Any) -> Any:
    with unrolled(layer):
        return at_inference(layer, value)


def _same_rank(step: Step) -> bool:
    return len({len(shape) for shape in step.input_shapes}) == 1


def _constants_spare_time(step: Step) -> bool:
    """Whether the constants of an operation are too short to reach the time axis when broadcast."""
    return all(len(shape) <= len(step.input_shapes[0]) - 2 for shape in step.constants)


def _keeps_time_apart(step: Step) -> bool:
    rank = len(step.input_shapes[0])
    axes = step.layer.axis
    given = axes if isinstance(axes, list | tuple) else [axes]
    # A batch normalisation has statistics for each index of its axis, all the others only look along theirs.
    return all(axis % rank not in (0, 1) for axis in given)


def _reshape(step: Step, frames: int) -> Apply | None:
    before, after = step.input_shapes[0][2:], step.shape[2:]
    if step.shape[1] != frames or None in before or None in after or not after:
        return None
    if math.prod(axis or 0 for axis in before) != math.prod(axis or 0 for axis in after):
        return None
    return lambda values: tensorflow().reshape(values[step.inputs[0]], (-1, *after))


def _batch_normalisation(step: Step) -> Apply | None:
    """That of the last axis, on frames as they are: the exporter folds it into the convolution before it."""
    layer = step.layer
    if step.kind != "BatchNormalization" or layer.axis % len(step.shape) != len(step.shape) - 1:
        return None
    statistics = (layer.moving_mean, layer.moving_variance)
    settings = {"offset": layer.beta, "scale": layer.gamma, "epsilon": layer.epsilon}
    return lambda values: keras().ops.batch_normalization(values[step.inputs[0]], *statistics, -1, **settings)


def _with_time_axis(step: Step) -> Apply:
    def apply(values: Mapping[int, Any]) -> Any:
        tf = tensorflow()
        return tf.squeeze(step.apply({number: tf.expand_dims(values[number], 1) for number in step.inputs}), axis=1)

    return apply
