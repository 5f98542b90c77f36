"""What a model gives, and whether that is probabilities: read off its steps, since numbers may look so by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deepfake_edge.converters.steps import Graph, Step, graph_of, shows_its_graph
from deepfake_edge.training.workshop import keras, tensorflow

_WANTED = "wanted a softmax over two classes or one sigmoid"
_PROMISE = f"{_WANTED} (if these are logits, say so: --spec activation=logits)"
# What gives probabilities when given probabilities of the same moment, or logits when given logits.
_KEEPING = frozenset({
    "Average", "Dropout", "GlobalAveragePooling1D", "Identity", "Mean", "Reshape", "SpatialDropout1D", "Squeeze",
})  # fmt: skip


_ACTIVATIONS = frozenset({"ELU", "LeakyReLU", "PReLU", "ReLU", "Relu", "Sigmoid", "Softmax", "Tanh"})


@dataclass(frozen=True, slots=True)
class Ending:
    """How a model's outputs become probabilities.

    Attributes:
        clip: place of (B, C) among the outputs; None where it is the mean over the frames of the other one.
        frames: place of (B, T, C) among the outputs; None where the model says nothing of each frame.
        classes: C: 1, a sigmoid, or 2, a softmax.
        logits: the outputs are logits, for which the sigmoid or softmax is still to be computed.
    """

    clip: int | None
    frames: int | None
    classes: int
    logits: bool

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """Which kind the probabilities are."""
        return "softmax" if self.classes == 2 else "sigmoid"

    def probabilities(self, outputs: Sequence[Any]) -> tuple[Any, ...]:
        """From the model's outputs: those of the clip (B, C) and, where it gives them, of its frames (B, T, C)."""
        tf = tensorflow()
        if self.logits:
            outputs = [tf.nn.softmax(item) if self.classes == 2 else tf.sigmoid(item) for item in outputs]
        frames = None if self.frames is None else outputs[self.frames]
        clip = tf.reduce_mean(frames, axis=1) if self.clip is None else outputs[self.clip]
        return (clip,) if frames is None else (clip, frames)


def read_ending(graph: Graph, frames: int, logits: bool) -> tuple[Ending, list[str]]:
    """Look at what a model ends in.

    Args:
        graph: the model's.
        frames: T; 1 for a per-frame model.
        logits: the user says that the outputs are logits.
    Returns:
        the ending, and why it cannot be used; nothing where it can.
    """
    shapes = graph.output_shapes
    clip = [place for place, shape in enumerate(shapes) if len(shape) == 2]
    each = [place for place, shape in enumerate(shapes) if len(shape) == 3 and shape[1] in (frames, None)]
    classes = {shape[-1] for shape in shapes}
    ending = Ending(next(iter(clip), None), next(iter(each), None), 2 if classes == {2} else 1, logits)
    understood = len(clip) + len(each) == len(shapes) and max(len(clip), len(each)) == 1 and (frames > 1 or not each)
    if not understood or classes not in ({1}, {2}):
        return ending, [f"{_listed(shapes)}; {_forms(frames)}"]
    return ending, [
        reason
        for number, shape in zip(graph.outputs, shapes, strict=True)
        if (reason := _objection(graph, number, shape, logits)) is not None
    ]


def _listed(shapes: Sequence[tuple[int | None, ...]]) -> str:
    if len(shapes) == 1:
        return f"its output is {shapes[0]}"
    return f"its outputs are {', '.join(map(str, shapes))}"


def _forms(frames: int) -> str:
    alone = "wanted (batch, 1) of sigmoid or (batch, 2) of softmax"
    return alone if frames == 1 else f"{alone}, beside it or instead of it the same for each of the {frames} frames"


def _objection(graph: Graph, number: int, shape: tuple[int | None, ...], logits: bool) -> str | None:
    ends = _ends(graph, number)
    given = all(step is not None and _is_probability(step, shape) for step in ends)
    last = next((step.name for step in ends if step is not None), "its input")
    if not logits:
        return None if given else f"it ends in {last}; {_PROMISE}"
    if given:
        return f"it ends in {last}, which gives probabilities already; leave --spec activation=logits away"
    if all(step is not None and _is_linear(step) for step in ends):
        return None
    return f"it ends in {last}, which gives no logits; wanted a layer without activation, or {_WANTED}"


def _ends(graph: Graph, number: int) -> list[Step | None]:
    """The steps that an output is the mean of, or is itself the output of."""
    step = graph.giver(number)
    if step is not None and step.kind == "TimeDistributed" and shows_its_graph(step.layer.layer):
        inner = graph_of(step.layer.layer)
        return _ends(inner, inner.outputs[0])
    if step is None or not _keeps(step):
        return [step]
    return [end for value in step.inputs for end in _ends(graph, value)]


def _keeps(step: Step) -> bool:
    if step.kind == "TimeDistributed":
        return type(step.layer.layer).__name__ in ("Dropout", "Identity")
    same_classes = all(shape[-1] == step.shape[-1] for shape in step.input_shapes)
    return step.kind in _KEEPING and same_classes and not step.constants


def _is_probability(step: Step, shape: tuple[int | None, ...]) -> bool:
    layer, rank = _layer(step)
    kind, classes = type(layer).__name__, shape[-1]
    activations = keras().activations
    if kind in ("Dense", "Activation"):
        return layer.activation is (activations.sigmoid if classes == 1 else activations.softmax)
    if kind == "Softmax":
        return classes == 2 and layer.axis in (-1, rank - 1)
    return kind == "Sigmoid" and classes == 1


def _is_linear(step: Step) -> bool:
    layer, _ = _layer(step)
    if hasattr(layer, "cell") or type(layer).__name__ in _ACTIVATIONS:
        return False
    return getattr(layer, "activation", None) in (None, keras().activations.linear)


def _layer(step: Step) -> tuple[Any, int]:
    """The layer that computes, and the rank of what it gives."""
    if step.kind == "TimeDistributed":
        return step.layer.layer, len(step.shape) - 1
    return step.layer, len(step.shape)
