"""What a model's own first layers say of the pixel values that go in.

A model that begins with Rescaling(1/255) takes raw pixels, one that begins with Rescaling(2, -1) takes 0..1.
Whatever is not plainly one of these says nothing: a guess here would spoil every score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from deepfake_edge.converters.cutting.framewise import framewise, is_augmentation
from deepfake_edge.converters.cutting.steps import Graph, Step, graph_of, shows_its_graph
from deepfake_edge.data import Floats
from deepfake_edge.training.workshop import tensorflow

Range: TypeAlias = Literal["raw pixels, 0..255", "values in 0..1", "values in -1..1"]

_SPECS: Mapping[Range, tuple[float, float]] = {
    "raw pixels, 0..255": (0.0, 1.0),
    "values in 0..1": (0.0, 1 / 255),
    "values in -1..1": (127.5, 1 / 127.5),
}
_NEUTRAL = frozenset({
    "ActivityRegularization", "CenterCrop", "Dropout", "GaussianDropout", "GaussianNoise", "Identity", "Resizing",
    "SpatialDropout2D", "SpatialDropout3D", "ZeroPadding2D", "ZeroPadding3D",
})  # fmt: skip
_AFFINE = frozenset({"Add", "Divide", "GetItem", "Multiply", "Normalization", "Rescaling", "Subtract", "TrueDivide"})

_Apply: TypeAlias = Callable[[Any], Any]


def pixel_range(graph: Graph) -> Mapping[str, Any] | None:
    """Read the layers that a crop meets first.

    Returns:
        `mean` and `scale` as a crop's spec has them (what goes in is (pixel - mean) * scale) and `words` for people;
        None where the model does not say.
    """
    # A grey ramp: what happens to it is a factor and a summand for each channel.
    values = np.array([0.0, 1.0, 2.0], np.float32).repeat(4 * 3).reshape(3, 2, 2, 3)
    for step, apply in _first_steps(graph):
        values = np.asarray(apply(tensorflow().constant(values)))
        if values.shape != (3, 2, 2, 3) or not np.isfinite(values).all():
            return None
        taken = _range(values[1, 0, 0] - values[0, 0, 0], values[0, 0, 0])
        if taken is not None:
            mean, scale = _SPECS[taken]
            words = f"the model: its {step.layer.name} ({step.kind}) takes {taken}"
            return {"mean": [mean] * 3, "scale": [scale] * 3, "words": words}
    return None


def _first_steps(graph: Graph) -> Iterator[tuple[Step, _Apply]]:
    """The affine steps at the start of a graph, as functions of frames; those that leave values alone are passed."""
    value, clips = 0, len(graph.input_shape) == 5
    while True:
        readers = [step for step in graph.steps if value in step.inputs]
        if len(readers) != 1 or len(set(readers[0].inputs)) != 1:
            return
        step = readers[0]
        wrapped = step.layer.layer if step.kind == "TimeDistributed" else None
        if wrapped is not None and shows_its_graph(wrapped):
            inner = graph_of(wrapped)
            yield from _first_steps(inner)
            if not _is_transparent(inner):
                return
        elif not _is_neutral(step.layer if wrapped is None else wrapped):
            apply = framewise(step, graph.input_shape[1] or 0) if clips else step.apply
            kind = step.kind if wrapped is None else type(wrapped).__name__
            if kind not in _AFFINE or apply is None:
                return
            yield step, _on(apply, step)
        value = step.output


def _on(apply: Callable[[Mapping[int, Any]], Any], step: Step) -> _Apply:
    return lambda value: apply(dict.fromkeys(step.inputs, value))


def _is_neutral(layer: Any) -> bool:
    return type(layer).__name__ in _NEUTRAL or is_augmentation(layer)


def _is_transparent(graph: Graph) -> bool:
    return all(_is_neutral(step.layer) or step.kind in _AFFINE for step in graph.steps)


def _range(factor: Floats, summand: Floats) -> Range | None:
    """What a first layer x * factor + summand is meant to be given; numbers a channel."""
    if (factor <= 0).any():
        return None
    # It gives 0 for `centre`, and 1 for `spread` more.
    centre, spread = -summand / factor, 1.0 / factor
    if _within(centre, 40, 220) and _within(spread, 0.5, 300):
        return "raw pixels, 0..255"
    if _within(centre, -1, 1) and _within(spread, 250, 260):
        return "raw pixels, 0..255"
    if _within(centre, 0.2, 0.8) and _within(spread, 0.05, 1.02):
        return "values in 0..1"
    if _within(centre, -0.001, 0.001) and _within(spread, 1 / 260, 1 / 250):
        return "values in 0..1"
    if _within(centre, -1.01, -0.99) and (_within(spread, 1.98, 2.02) or _within(spread, 1 / 130, 1 / 126)):
        return "values in -1..1"
    return None


def _within(values: Floats, low: float, high: float) -> bool:
    return bool(((values >= low) & (values <= high)).all())
