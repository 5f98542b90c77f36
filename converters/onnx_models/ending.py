"""What an ONNX graph ends in: probabilities, or numbers of which the user must say what they are."""

from __future__ import annotations

from typing import Any

from deepfake_edge.converters.parity import are_probabilities, in_words
from deepfake_edge.data import Floats

_ENDS = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
# What changes the shape of an output, not its values.
_PASSING = frozenset({"Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_SQUASHING = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
# Without weights of their own: what they give of probabilities is no logit.
_COMBINING = frozenset({
    "Abs", "Add", "AveragePool", "Cast", "Clip", "Concat", "Div", "Dropout", "Expand", "Flatten", "Gather",
    "GatherElements", "GatherND", "GlobalAveragePool", "GlobalMaxPool", "Identity", "Max", "MaxPool", "Mean", "Min",
    "Mul", "Neg", "Pad", "Pow", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape",
    "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tile", "TopK", "Transpose", "Unsqueeze", "Where",
})  # fmt: skip
# A logit times a probability is a logit still.
_PRODUCTS = frozenset({"Div", "Mul"})
_SAYINGS = ("softmax", "sigmoid", "logits")


def read_ending(graph: Any, outputs: Floats, said: str | None) -> tuple[bool, list[str]]:
    """Find out whether a model gives probabilities.

    Args:
        graph: an onnx GraphProto of one output.
        outputs: float32 (N, C), what it gives on noise; C is 1 or 2.
        said: what the user says that they are: softmax, sigmoid or logits.
    Returns:
        whether they are logits, and why that cannot be told; nothing where it can.
    """
    natural = "softmax" if outputs.shape[1] == 2 else "sigmoid"
    shown = f"{outputs.shape[1]} output{'s'[: outputs.shape[1] - 1]}"
    last = _last(graph)
    found = _ENDS.get(last)
    if said is not None and said not in (natural, "logits"):
        wanted = f"{natural} or logits" if said in _SAYINGS else f"one of {', '.join(_SAYINGS)}"
        return False, [f"activation={said} does not go with {shown}; wanted {wanted}"]
    combined = _is_of_probabilities(graph)
    if found is None and said is None:
        unknown = f"it ends in {last}, so what its {shown} are is not known; say"
        vouch = f"--spec activation={natural} if they are probabilities already"
        if combined:
            return False, [f"{unknown} {vouch}"]
        return False, [f"{unknown} --spec activation=logits (the {natural} is then added to the model), or {vouch}"]
    if found is not None and said == "logits":
        return False, [f"activation=logits was given, the model itself ends in a {found}"]
    if said == "logits":
        if combined or (natural == "softmax" and are_probabilities(outputs)):
            return False, [
                f"activation=logits was given, but its {shown} are computed from probabilities already; if they are "
                f"probabilities too, say so: --spec activation={natural}"
            ]
        return True, []
    if found not in (None, natural):
        return False, [f"it ends in a {found} with {shown}; wanted a softmax over two classes or one sigmoid"]
    if not are_probabilities(outputs):
        return False, [f"its {shown} are no probabilities ({natural}) on noise: {in_words(outputs)}"]
    return False, []


def _last(graph: Any) -> str:
    """The operator that made the output's values."""
    producers = {name: node for node in graph.node for name in node.output if name}
    node = producers.get(graph.output[0].name)
    while node is not None and node.op_type in _PASSING:
        node = producers.get(node.input[0])
    return node.op_type if node is not None else "its input"


def _is_of_probabilities(graph: Any) -> bool:
    """Whether the output is computed from probabilities without any weights in between."""
    fixed = {item.name for item in graph.initializer}
    of_probabilities = {item.name: False for item in graph.input if item.name not in fixed}
    for node in graph.node:
        parts = [of_probabilities[name] for name in node.input if name in of_probabilities]
        counts = all if node.op_type in _PRODUCTS else any
        combines = node.op_type in _COMBINING and counts(parts)
        # What is computed from constants alone is one itself.
        if parts:
            named = filter(None, node.output)
            of_probabilities |= dict.fromkeys(named, node.op_type in _SQUASHING or combines)
    return of_probabilities.get(graph.output[0].name, False)
