"""What no part of a converted model can have, cut or whole."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from deepfake_edge.converters.cutting import recurrence
from deepfake_edge.converters.cutting.steps import Graph, Step


def objections(graph: Graph) -> list[str]:
    """Why a graph cannot be converted whatever is done with it; every reason, or nothing."""
    masked = any(step.kind == "Masking" for step in graph.steps)
    read = {number for step in graph.steps for number in step.inputs} | set(graph.outputs)
    return [reason for step in graph.steps for reason in _objections(step, read, masked)]


def _objections(step: Step, read: Collection[int], masked: bool) -> Iterator[str]:
    if not type(step.layer).__module__.startswith("keras."):
        yield f"{step.name}: is no layer of Keras's own; rebuild the model from those"
    if step.kind == "Masking":
        yield f"{step.name}: masks frames; a window here is always full, train without it"
    looping = [part for part in _parts(step.layer) if _loops(part)]
    for part in looping:
        said = recurrence.objections(part)
        if said:
            yield f"{_named(step, part)}: {'; '.join(said)}"
    if looping and len(step.inputs) != 1 and not masked:
        yield f"{step.name}: is given an initial state, which is not understood; rebuild it to start from zeros"
    if not looping and any(number in read for number in step.further):
        advice = "rebuild it with return_attention_scores=False" if "Attention" in step.kind else "read only its first"
        yield f"{step.name}: gives {step.outputs} values that are read, wanted 1; {advice}"
    for part in _parts(step.layer):
        dtype = getattr(part, "compute_dtype", "float32")
        if dtype != "float32" and type(part).__name__ != "InputLayer":
            yield f"{_named(step, part)}: computes in {dtype}, wanted float32; load its weights into a float32 model"
            return


def _parts(layer: Any) -> list[Any]:
    """A layer and the layers inside it, but for the two copies in a Bidirectional."""
    if not hasattr(layer, "_flatten_layers"):
        return []
    found = list(layer._flatten_layers())
    pairs = [part for part in found if hasattr(part, "merge_mode")]
    copies = {id(item) for part in pairs for item in part._flatten_layers() if item is not part}
    return [part for part in found if id(part) not in copies]


def _loops(layer: Any) -> bool:
    return hasattr(layer, "return_sequences") and hasattr(layer, "stateful")


def _named(step: Step, part: Any) -> str:
    where = "" if part is step.layer else f" in {step.name}"
    return f"{part.name} ({type(part).__name__}){where}"
