"""Which steps of a clip model run once a frame, which look at a window, and what crosses between them.

Every step of the graph is either *framewise* (it treats the frames of a clip one by one, so it may run once a
frame, without the time axis) or part of the head. Framewise steps, and the input projection of the first
recurrent layer, make the backbone; its outputs, flattened and joined, are the features of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_edge.converters.cutting.ending import Ending
from deepfake_edge.converters.cutting.framewise import apply_step, framewise
from deepfake_edge.converters.cutting.recurrence import Recurrence, is_recurrent, objections, read_recurrence
from deepfake_edge.converters.cutting.steps import Graph, Step, at_inference
from deepfake_edge.training.workshop import tensorflow

# Layers and operations that may look at a whole window. They run as Keras's own, inside the trace.
_HEAD_STEPS = frozenset({
    "Absolute", "Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout", "Attention",
    "Average", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D", "BatchNormalization", "Bidirectional",
    "Concatenate", "Conv1D", "Conv2D", "Conv3D", "ConvLSTM1D", "ConvLSTM2D", "Cropping1D", "Dense", "DepthwiseConv1D",
    "DepthwiseConv2D", "Divide", "Dot", "Dropout", "ELU", "Einsum", "EinsumDense", "Exp", "ExpandDims", "Flatten",
    "GaussianDropout", "GaussianNoise", "Gelu", "GetItem", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
    "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D", "GroupNormalization",
    "Identity", "LayerNormalization", "LeakyReLU", "Matmul", "Max", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
    "Maximum", "Mean", "Minimum", "MultiHeadAttention", "Multiply", "Negative", "Normalization", "PReLU", "Permute",
    "RMSNormalization", "RNN", "ReLU", "Relu", "RepeatVector", "Rescaling", "Reshape", "SeparableConv1D",
    "SeparableConv2D", "Sigmoid", "Silu", "Softmax", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Sqrt",
    "Square", "Squeeze", "Stack", "Subtract", "Sum", "Tanh", "TimeDistributed", "Transpose", "TrueDivide",
    "UnitNormalization", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
})  # fmt: skip
# A Masking layer, and what Keras computes its mask with: objected to elsewhere, and once.
MASKING = frozenset({"Masking", "NotEqual", "Any"})
_ADVICE = "a window's head may hold recurrent, dense, pooling, attention and convolution layers"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a frame's features: a framewise value, as it is or already projected for a recurrent step."""

    value: int
    recurrence: Recurrence | None
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs where.

    Attributes:
        ending: how the graph's outputs become probabilities.
        frames: crops in a window.
        per_frame: framewise steps with the functions that compute them without a time axis.
        window: the head's steps.
        pieces: what crosses from one to the other, in the order of the features.
        recurrences: of the head's recurrent steps, by the step's output.
    """

    graph: Graph
    ending: Ending
    frames: int
    per_frame: tuple[tuple[Step, Callable[[Mapping[int, Any]], Any]], ...]
    window: tuple[Step, ...]
    pieces: tuple[Piece, ...]
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

    def head(self, window: Any) -> tuple[Any, ...]:
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
        return self._probabilities(values)

    def frames_by_keras(self, crops: Any) -> list[Any]:
        """What crosses the cut, before any projection, by whole Keras layers."""
        values = {0: crops}
        for step, apply in self.per_frame:
            wrapped = step.kind == "TimeDistributed"
            values[step.output] = at_inference(step.layer.layer, values[step.inputs[0]]) if wrapped else apply(values)
        return [values[number] for number in self._crossing()]

    def window_by_keras(self, crossing: list[Any]) -> tuple[Any, ...]:
        """The head by Keras's own layers, recurrent ones included."""
        values = dict(zip(self._crossing(), crossing, strict=True))
        for step in self.window:
            values[step.output] = step.apply(values)
        return self._probabilities(values)

    def _probabilities(self, values: Mapping[int, Any]) -> tuple[Any, ...]:
        return self.ending.probabilities([values[number] for number in self.graph.outputs])

    def _crossing(self) -> list[int]:
        return list(dict.fromkeys(piece.value for piece in self.pieces))


def make_plan(graph: Graph, ending: Ending, frames: int) -> tuple[Plan, list[str]]:
    """Sort the steps of a clip model.

    Returns:
        the plan, and why it will not do; nothing where it will.
    """
    framed = {0: graph.input_shape[2:]}
    per_frame, window, recurrences = [], [], {}
    pieces: dict[tuple[int, int | None], Piece] = {}
    reasons = []
    for step in graph.steps:
        if all(number in framed for number in step.inputs):
            apply = framewise(step, frames)
            if apply is not None:
                per_frame.append((step, apply))
                framed[step.output] = step.shape[2:]
                continue
        crossing = {number: framed[number] for number in step.inputs if number in framed}
        objection = _objection(step, crossing.values())
        if objection is not None:
            reasons.append(objection)
            continue
        if is_recurrent(step.layer) and not objections(step.layer):
            recurrences[step.output] = read_recurrence(step.layer)
        window.append(step)
        for number, shape in crossing.items():
            _cross(pieces, number, shape, recurrences.get(step.output))
    for number in graph.outputs:
        if number in framed:
            _cross(pieces, number, framed[number], None)
    plan = Plan(graph, ending, frames, tuple(per_frame), tuple(window), tuple(pieces.values()), recurrences)
    return plan, reasons


def _cross(
    pieces: dict[tuple[int, int | None], Piece],
    value: int,
    shape: tuple[int | None, ...],
    recurrence: Recurrence | None,
) -> None:
    key = (value, None if recurrence is None else id(recurrence))
    if recurrence is not None:
        pieces[key] = Piece(value, recurrence, (recurrence.size,))
    else:
        pieces[key] = Piece(value, None, tuple(int(axis or 0) for axis in shape))


def _objection(step: Step, crossing: Collection[tuple[int | None, ...]]) -> str | None:
    """Why a step cannot be in a head; `crossing` are the shapes of what it takes of each frame."""
    if any(len(shape) == 3 and shape[-1] == 3 for shape in crossing):
        return f"{step.name}: takes the frames themselves; wanted TimeDistributed layers first"
    if step.kind not in _HEAD_STEPS and not is_recurrent(step.layer) and step.kind not in MASKING:
        return f"{step.name}: is not understood after the TimeDistributed layers; {_ADVICE}"
    if any(None in shape for shape in crossing):
        return f"{step.name}: takes features of an open size; give the model's input its size"
    return None
