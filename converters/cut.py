"""Cuts a model in two: what is computed for each frame alone, and what looks at a window of them.

Every step of the graph is either *framewise* (it treats the frames of a clip one by one, so it may run once a
frame, without the time axis) or part of the head. Framewise steps, and the input projection of the first
recurrent layer, make the backbone; its outputs, flattened and joined, are the features of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_edge.converters.ending import PROBABILITIES, gives_probabilities
from deepfake_edge.converters.framewise import apply_step, evaluate, framewise
from deepfake_edge.converters.recurrence import Recurrence, is_recurrent, objections, read_recurrence
from deepfake_edge.converters.steps import Graph, Step, at_inference, graph_of
from deepfake_edge.errors import ConversionError
from deepfake_edge.training.workshop import tensorflow

# Layers that may look at a whole window. They run as Keras's own, inside the trace.
_HEAD_LAYERS = frozenset({
    "Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout", "Attention", "Average",
    "AveragePooling1D", "BatchNormalization", "Concatenate", "Conv1D", "Cropping1D", "Dense", "Dot", "Dropout", "ELU",
    "Flatten", "GaussianDropout", "GaussianNoise", "GlobalAveragePooling1D", "GlobalMaxPooling1D",
    "LayerNormalization", "LeakyReLU", "MaxPooling1D", "Maximum", "Minimum", "MultiHeadAttention", "Multiply", "PReLU",
    "Permute", "ReLU", "RepeatVector", "Rescaling", "Reshape", "SeparableConv1D", "Softmax", "SpatialDropout1D",
    "Subtract", "TimeDistributed", "UnitNormalization", "ZeroPadding1D",
})  # fmt: skip
# What Keras computes a mask with; a model with a Masking layer is refused for that layer alone.
_MASK_OPERATIONS = frozenset({"NotEqual", "Any"})
_ADVICE = "a window's head may hold recurrent, dense, pooling, attention and 1-D convolution layers"


@dataclass(frozen=True, slots=True)
class Cut:
    """A model in two parts, as functions on TensorFlow tensors.

    Attributes:
        backbone: float32 (N, S, S, 3) -> features (N, F), or outputs (N, C) of a per-frame model.
        head: float32 (B, frames, F) -> outputs (B, C); None for a per-frame model.
        original: the same cut through Keras's own layers, to compare with; None for a per-frame model.
        frames: crops in a window; 1 for a per-frame model.
        size_px: S.
        features: F, or C for a per-frame model.
        outputs: C.
    """

    backbone: Callable[[Any], Any]
    head: Callable[[Any], Any] | None
    original: Original | None
    frames: int
    size_px: int
    features: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Original:
    """A clip model's own layers, untouched, with the frames computed once however many windows they are in.

    Attributes:
        frames: float32 (N, S, S, 3) -> what the head reads of each frame: a list of (N, ...).
        window: the same as a list of (B, frames, ...) -> outputs (B, C).
    """

    frames: Callable[[Any], list[Any]]
    window: Callable[[list[Any]], Any]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a frame's features: a framewise value, as it is or already projected for a recurrent step."""

    value: int
    recurrence: Recurrence | None
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def cut(model: Any, frames: int | None, size_px: int | None) -> Cut:
    """Cut a model at the place where frames meet.

    Args:
        model: a Keras model that takes (B, T, S, S, 3), or (B, S, S, 3) for a per-frame model.
        frames: T where the model leaves it open.
        size_px: S where the model leaves it open.
    Raises:
        ConversionError: it cannot be cut; carries every reason.
    """
    graph = graph_of(model)
    shape = graph.input_shape
    if len(shape) not in (4, 5) or shape[-1] != 3:
        raise ConversionError(f"wanted an input of (frames, S, S, 3) or (S, S, 3), the model takes {shape[1:]}")
    side = _side(shape[-3:-1], size_px)
    reasons = _general_objections(graph)
    if len(shape) == 4:
        _refuse(reasons)
        outputs = int(graph.output_shape[1] or 0)
        return Cut(lambda crops: evaluate(graph, crops), None, None, 1, side, outputs, outputs)
    length = shape[1] if shape[1] is not None else frames
    if length is None:
        raise ConversionError("the model leaves the number of frames open; give it: --spec frames=N")
    plan = _plan(graph, length, reasons)
    _refuse(reasons)
    features = sum(piece.size for piece in plan.pieces)
    original = Original(plan.frames_by_keras, plan.window_by_keras)
    return Cut(plan.backbone, plan.head, original, length, side, features, int(graph.output_shape[1] or 0))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What runs where.

    Attributes:
        per_frame: framewise steps with the functions that compute them without a time axis.
        window: the head's steps.
        pieces: what crosses from one to the other, in the order of the features.
        recurrences: of the head's recurrent steps, by the step's output.
    """

    graph: Graph
    frames: int
    per_frame: tuple[tuple[Step, Callable[[Mapping[int, Any]], Any]], ...]
    window: tuple[Step, ...]
    pieces: tuple[_Piece, ...]
    recurrences: Mapping[int, Recurrence]

    def backbone(self, crops: Any) -> Any:
        tf = tensorflow()
        values = {0: crops}
        for step, apply in self.per_frame:
            values[step.output] = apply(values)
        parts = []
        for piece in self.pieces:
            value = values[piece.value]
            flat = value if len(value.shape) == 2 else tf.reshape(value, (-1, math.prod(value.shape[1:])))
            parts.append(flat if piece.recurrence is None else piece.recurrence.project(flat))
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)

    def head(self, window: Any) -> Any:
        tf = tensorflow()
        parts = [window] if len(self.pieces) == 1 else tf.split(window, [item.size for item in self.pieces], axis=-1)
        values: dict[int, Any] = {}
        projected: dict[tuple[int, int], Any] = {}
        for piece, part in zip(self.pieces, parts, strict=True):
            if piece.recurrence is not None:
                projected[piece.value, id(piece.recurrence)] = part
            elif len(piece.shape) == 1:
                values[piece.value] = part
            else:
                values[piece.value] = tf.reshape(part, (-1, self.frames, *piece.shape))
        for step in self.window:
            recurrence = self.recurrences.get(step.output)
            if recurrence is None:
                values[step.output] = apply_step(step, values)
                continue
            part = projected.get((step.inputs[0], id(recurrence)))
            part = recurrence.project(values[step.inputs[0]]) if part is None else part
            values[step.output] = recurrence.run(part)
        return values[self.graph.output]

    def frames_by_keras(self, crops: Any) -> list[Any]:
        """What crosses the cut, before any projection, by whole Keras layers."""
        values = {0: crops}
        for step, apply in self.per_frame:
            wrapped = step.kind == "TimeDistributed"
            values[step.output] = at_inference(step.layer.layer, values[step.inputs[0]]) if wrapped else apply(values)
        return [values[number] for number in self._crossing()]

    def window_by_keras(self, crossing: list[Any]) -> Any:
        """The head by Keras's own layers, recurrent ones included."""
        values = dict(zip(self._crossing(), crossing, strict=True))
        for step in self.window:
            values[step.output] = step.apply(values)
        return values[self.graph.output]

    def _crossing(self) -> list[int]:
        return list(dict.fromkeys(piece.value for piece in self.pieces))


def _plan(graph: Graph, frames: int, reasons: list[str]) -> _Plan:
    framed = {0: graph.input_shape[2:]}
    per_frame, window, recurrences = [], [], {}
    pieces: dict[tuple[int, int | None], _Piece] = {}
    masked = any(step.kind == "Masking" for step in graph.steps)
    for step in graph.steps:
        if masked and step.kind in _MASK_OPERATIONS:
            continue
        if all(number in framed for number in step.inputs):
            apply = framewise(step, frames)
            if apply is not None:
                per_frame.append((step, apply))
                framed[step.output] = step.shape[2:]
                continue
        objection = _head_objection(step, raw=0 in step.inputs, masked=masked)
        if objection:
            reasons.append(objection)
            continue
        if is_recurrent(step.layer):
            recurrences[step.output] = read_recurrence(step.layer)
        window.append(step)
        for number in step.inputs:
            if number in framed:
                _cross(pieces, number, framed[number], recurrences.get(step.output))
    if graph.output in framed:
        reasons.append(f"its output {graph.output_shape} is one a frame; wanted one a window: (batch, classes)")
    return _Plan(graph, frames, tuple(per_frame), tuple(window), tuple(pieces.values()), recurrences)


def _cross(
    pieces: dict[tuple[int, int | None], _Piece],
    value: int,
    shape: tuple[int | None, ...],
    recurrence: Recurrence | None,
) -> None:
    key = (value, None if recurrence is None else id(recurrence))
    if recurrence is not None:
        pieces[key] = _Piece(value, recurrence, (recurrence.size,))
    else:
        pieces[key] = _Piece(value, None, tuple(int(axis or 0) for axis in shape))


def _head_objection(step: Step, *, raw: bool, masked: bool) -> str | None:
    if raw:
        return f"{step.name}: takes the frames themselves; wanted TimeDistributed layers first"
    if is_recurrent(step.layer):
        if len(step.inputs) != 1 and not masked:
            return f"{step.name}: is given an initial state, which is not understood"
        said = objections(step.layer)
        return f"{step.name}: {'; '.join(said)}" if said else None
    if step.kind == "Masking":
        return f"{step.name}: masks frames; a window here is always full, train without it"
    if step.kind not in _HEAD_LAYERS or not type(step.layer).__module__.startswith("keras."):
        return f"{step.name}: is not understood after the TimeDistributed layers; {_ADVICE}"
    return None


def _general_objections(graph: Graph) -> list[str]:
    reasons = []
    for step in graph.steps:
        if step.outputs != 1 and not is_recurrent(step.layer):
            reasons.append(f"{step.name}: gives {step.outputs} values, wanted 1")
        reduced = _reduced_precision(step)
        if reduced:
            reasons.append(f"{reduced}, wanted float32; load its weights into a float32 model")
    if len(graph.output_shape) != 2 or graph.output_shape[1] not in (1, 2):
        reasons.append(f"its output is {graph.output_shape}; wanted (batch, 1) of sigmoid or (batch, 2) of softmax")
    elif not gives_probabilities(graph):
        reasons.append(f"it ends in {graph.last.name if graph.last else 'its input'}; {PROBABILITIES}")
    return reasons


def _reduced_precision(step: Step) -> str | None:
    """The first layer of a step, however deep inside, that does not compute in float32."""
    parts = step.layer._flatten_layers() if hasattr(step.layer, "_flatten_layers") else ()
    for part in parts:
        dtype = getattr(part, "compute_dtype", "float32")
        if dtype != "float32" and type(part).__name__ != "InputLayer":
            where = "" if part is step.layer else f" in {step.name}"
            return f"{part.name} ({type(part).__name__}){where}: computes in {dtype}"
    return None


def _side(found: tuple[int | None, ...], wanted: int | None) -> int:
    height, width = found
    if height != width:
        raise ConversionError(f"wanted square crops, the model takes {height} x {width}")
    if height is None and wanted is None:
        raise ConversionError("the model leaves the size of a crop open; give it: --spec size_px=N")
    return int(height if height is not None else wanted or 0)


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise ConversionError("this model cannot be cut into a backbone and a head:", reasons)
