"""A model's structure as comparable data: two models with the same signature compute the same from the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from deepfake_edge.converters.cutting.steps import Step, graph_of, shows_its_graph

Line: TypeAlias = tuple[Any, ...]

# Settings that do not change what a layer computes when it is not being trained.
_IRRELEVANT = ("initializer", "regularizer", "constraint")
_IRRELEVANT_NAMES = frozenset({
    "name", "dtype", "trainable", "seed", "rate", "dropout", "recurrent_dropout", "noise_shape", "momentum",
    "unit_forget_bias", "implementation", "unroll", "use_cudnn", "zero_output_for_mask", "synchronized", "supports_jit",
    "renorm", "renorm_clipping", "renorm_momentum", "batch_input_shape", "registered_name", "build_config",
})  # fmt: skip


def signature(model: Any) -> tuple[Line, ...]:
    """A line a step (what it is, its settings, the shapes of its weights, what it reads), and one an output.

    Raises:
        ConversionError: the model does not show its graph.
    """
    graph = graph_of(model)
    places = zip(graph.outputs, graph.output_shapes, strict=True)
    outputs: list[Line] = [(f"an output of {shape[1:]}", (), (), (number,), ()) for number, shape in places]
    return (("input", graph.input_shape[1:]), *(_line(step) for step in graph.steps), *outputs)


def _line(step: Step) -> Line:
    layer = step.layer
    inner: tuple[Line, ...] = ()
    wrapped = getattr(layer, "layer", None) if step.kind == "TimeDistributed" else None
    if wrapped is not None and shows_its_graph(wrapped):
        inner = signature(wrapped)
        settings: Line = ()
    else:
        settings = _frozen(layer.get_config() if hasattr(layer, "get_config") else {})
    weights = tuple(tuple(item.shape) for item in getattr(layer, "weights", ()) if "seed" not in item.path)
    return (step.kind, settings, weights, step.inputs, inner)


def _frozen(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = [key for key in value if key not in _IRRELEVANT_NAMES and not str(key).endswith(_IRRELEVANT)]
        return tuple((str(key), _frozen(value[key])) for key in sorted(kept, key=str))
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value if isinstance(value, int | float | str | bool | type(None)) else repr(value)
