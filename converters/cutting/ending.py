"""What a model gives, and whether that is probabilities: read off its steps, since numbers may look so by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from deepfake_edge.converters.cutting.steps import Graph, Step, graph_of, shows_its_graph
from deepfake_edge.training.workshop import keras, tensorflow

_WANTED = "wanted a softmax over two classes or one sigmoid"
# What gives probabilities when given probabilities of the same moment, or logits when given logits.
_KEEPING = frozenset({
    "Average", "Dropout", "Flatten", "GlobalAveragePooling1D", "Identity", "Mean", "Reshape", "SpatialDropout1D",
    "Squeeze",
})  # fmt: skip
# A logit times a probability is a logit still.
_PRODUCTS = frozenset({"Divide", "Dot", "Einsum", "Matmul", "Multiply", "TrueDivide"})
# These make logits of probabilities.
_LOGARITHMS = frozenset({"Log", "Log10", "Log1p", "Log2", "LogSigmoid", "LogSoftmax"})
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


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a value is computed from without any weights in between.

    Attributes:
        partly: probabilities have a part in it that no logit outweighs.
        wholly: it is computed from probabilities alone.
    """

    partly: bool
    wholly: bool


_OTHER = _Origin(False, False)


def read_ending(graph: Graph, frames: int | None, said: str | None) -> tuple[Ending, list[str]]:
    """Look at what a model ends in.

    Args:
        graph: the model's.
        frames: T; 1 for a per-frame model, None where it is not known.
        said: what the user says that the outputs are: softmax, sigmoid or logits.
    Returns:
        the ending, and why it cannot be used; nothing where it can.
    """
    shapes = graph.output_shapes
    clip = [place for place, shape in enumerate(shapes) if len(shape) == 2]
    counts = {shape[1] for shape in shapes if len(shape) == 3} if frames is None else {frames, None}
    each = [place for place, shape in enumerate(shapes) if len(shape) == 3 and shape[1] in counts]
    classes = {shape[-1] for shape in shapes}
    ending = Ending(next(iter(clip), None), next(iter(each), None), 2 if classes == {2} else 1, said == "logits")
    understood = len(clip) + len(each) == len(shapes) and max(len(clip), len(each)) == 1 and (frames != 1 or not each)
    if not understood or classes not in ({1}, {2}):
        return ending, [f"{_listed(shapes)}; {_forms(frames)}"]
    origins = _origins(graph, _OTHER)
    objections = (
        _objection(_ends(graph, number), origins.get(number, _OTHER), ending.activation, said)
        for number in graph.outputs
    )
    return ending, [reason for reason in objections if reason is not None]


def _listed(shapes: Sequence[tuple[int | None, ...]]) -> str:
    if len(shapes) == 1:
        return f"its output is {shapes[0]}"
    return f"its outputs are {', '.join(map(str, shapes))}"


def _forms(frames: int | None) -> str:
    alone = "wanted (batch, 1) of sigmoid or (batch, 2) of softmax"
    each = "each frame" if frames is None else f"each of the {frames} frames"
    return alone if frames == 1 else f"{alone}, beside it or instead of it the same for {each}"


def _objection(ends: Sequence[Step | None], origin: _Origin, natural: str, said: str | None) -> str | None:
    steps = [step for step in ends if step is not None]
    last = f"it ends in {steps[0].name if steps else 'its input'}"
    all_steps = len(steps) == len(ends)
    if all_steps and all(_is_probability(step, natural) for step in steps):
        if said != "logits":
            return None
        return f"{last}, which gives probabilities already; leave --spec activation=logits away"
    linear = all_steps and all(_is_linear(step) for step in steps)
    combined = origin.wholly and linear
    if said == "logits":
        if not linear:
            return f"{last}, which gives no logits; wanted a layer without activation, or {_WANTED}"
        if not origin.partly:
            return None
        said_so = "activation=logits was given, but its outputs are computed from probabilities already"
        return f"{last}: {said_so}; {_advice(natural, combined)}"
    if combined and said == natural:
        return None
    if linear and not origin.partly:
        return f"{last}; {_WANTED} (if these are logits, say so: --spec activation=logits)"
    return f"{last}; {_WANTED}; {_advice(natural, combined)}"


def _advice(natural: str, combined: bool) -> str:
    if combined:
        return f"if what it computes from probabilities is probabilities again, say so: --spec activation={natural}"
    return f"end the model in the {natural} itself"


def _origins(graph: Graph, taken: _Origin) -> dict[int, _Origin]:
    """The origin of every value of a graph whose input's is `taken`."""
    found = {0: taken}
    for step in graph.steps:
        found[step.output] = _origin(step, [found.get(number, _OTHER) for number in step.inputs])
    return found


def _origin(step: Step, parts: Sequence[_Origin]) -> _Origin:
    if step.kind == "TimeDistributed" and shows_its_graph(step.layer.layer):
        inner = graph_of(step.layer.layer)
        return _origins(inner, parts[0])[inner.outputs[0]]
    layer, _ = _layer(step)
    if _squashes(layer):
        return _Origin(True, True)
    if not parts or getattr(layer, "weights", None) or hasattr(layer, "cell") or type(layer).__name__ in _LOGARITHMS:
        return _OTHER
    counts = all if step.kind in _PRODUCTS else any
    return _Origin(counts(part.partly for part in parts), all(part.wholly for part in parts))


def _squashes(layer: Any) -> bool:
    activations = keras().activations
    squashing = (activations.hard_sigmoid, activations.sigmoid, activations.softmax)
    if hasattr(layer, "cell"):
        return False
    by_name = type(layer).__name__ in ("HardSigmoid", "Sigmoid", "Softmax")
    return by_name or getattr(layer, "activation", None) in squashing


def _ends(graph: Graph, number: int) -> list[Step | None]:
    """The steps that an output is the mean of, or is itself the output of."""
    ends: list[Step | None] = []
    waiting, seen = [number], {number}
    while waiting:
        step = graph.giver(waiting.pop())
        if step is not None and step.kind == "TimeDistributed" and shows_its_graph(step.layer.layer):
            inner = graph_of(step.layer.layer)
            ends += _ends(inner, inner.outputs[0])
        elif step is None or not _keeps(step):
            ends.append(step)
        else:
            waiting += [value for value in dict.fromkeys(step.inputs) if value not in seen]
            seen.update(step.inputs)
    return ends


def _keeps(step: Step) -> bool:
    if step.kind == "TimeDistributed":
        return type(step.layer.layer).__name__ in ("Dropout", "Identity")
    same_classes = all(shape[-1] == step.shape[-1] for shape in step.input_shapes)
    return step.kind in _KEEPING and same_classes and not step.constants


def _is_probability(step: Step, natural: str) -> bool:
    layer, rank = _layer(step)
    kind = type(layer).__name__
    if kind in ("Dense", "Activation"):
        return layer.activation is getattr(keras().activations, natural)
    if kind == "Softmax":
        return natural == "softmax" and layer.axis in (-1, rank - 1)
    return kind == "Sigmoid" and natural == "sigmoid"


def _is_linear(step: Step) -> bool:
    layer, _ = _layer(step)
    if hasattr(layer, "cell") or type(layer).__name__ in _ACTIVATIONS or _squashes(layer):
        return False
    return getattr(layer, "activation", None) in (None, keras().activations.linear)


def _layer(step: Step) -> tuple[Any, int]:
    """The layer that computes, and the rank of what it gives."""
    if step.kind == "TimeDistributed":
        return step.layer.layer, len(step.shape) - 1
    return step.layer, len(step.shape)
