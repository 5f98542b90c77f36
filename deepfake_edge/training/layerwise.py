"""Runs a Keras model layer by layer over real crops, so that each layer can be set by what reaches it.

The frames of a clip are computed once, however many windows they are in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.data import Floats
from deepfake_edge.training import workshop

# Numbers that go into a layer at once: one crop of 299 px, dozens of small ones.
_BATCH = 1 << 19
_SAMPLE = 8


@dataclass(frozen=True, slots=True)
class Values:
    """What a tensor of the model is.

    Attributes:
        array: float32 (N, ...).
        windows: int64 (W, frames), where `array` holds the crops that make W clips; None where it holds what the
            tensor itself does.
    """

    array: Floats
    windows: NDArray[np.int64] | None = None

    @property
    def clips(self) -> Floats:
        """(W, frames, ...): the crops put into their windows; `array` where it holds no crops."""
        return self.array if self.windows is None else self.array[self.windows]

    def count(self, crop_by_crop: bool) -> int:
        """How many rows a layer sees that takes crops, or clips."""
        return len(self.array) if crop_by_crop or self.windows is None else len(self.windows)

    def rows(self, taken: slice, crop_by_crop: bool) -> Floats:
        """Some of the rows that such a layer sees."""
        return self.array[taken] if crop_by_crop or self.windows is None else self.array[self.windows[taken]]

    @property
    def sample(self) -> Floats:
        """Eight rows of `array`, spread evenly: enough for statistics."""
        chosen: Floats = self.array[np.linspace(0, len(self.array) - 1, _SAMPLE).round().astype(int)]
        return chosen


# Is called before a layer runs, with the layer and its first input.
Prepare: TypeAlias = Callable[[Any, Values], None]


def run(model: Any, values: Sequence[Values], prepare: Prepare, *, crop_by_crop: bool) -> list[Values]:
    """Run a model as at inference; models in it are run layer by layer too.

    Args:
        model: functional or Sequential, built.
        values: of its inputs.
        prepare: may set a layer's weights.
        crop_by_crop: the model sees crops, not clips.
    Returns:
        the values of its outputs.
    """
    held = {id(tensor): value for tensor, value in zip(model.inputs, values, strict=True)}
    nodes = _nodes(model)
    waiting = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    waiting.update(map(id, model.outputs))
    for node in nodes:
        arguments = node.arguments.fill_in(held)
        given = _call(node.operation, arguments, prepare, crop_by_crop)
        held.update(zip(map(id, node.outputs), given, strict=True))
        for tensor in node.input_tensors:
            waiting[id(tensor)] -= 1
            if not waiting[id(tensor)]:
                del held[id(tensor)]
    return [held[id(tensor)] for tensor in model.outputs]


def is_model(layer: Any) -> bool:
    """Whether a layer is a model that shows its graph."""
    return hasattr(layer, "layers") and bool(getattr(layer, "inputs", None))


def endings(model: Any) -> list[Any]:
    """The Dense layers that the model's outputs come from, through whatever has no weights."""
    found = {}
    tensors = list(model.outputs)
    while tensors:
        layer, call, place = tensors.pop()._keras_history
        bare = layer.layer if type(layer).__name__ == "TimeDistributed" else layer
        if is_model(bare):
            tensors.append(bare.outputs[place])
        elif type(bare).__name__ == "Dense":
            found[id(bare)] = bare
        elif not getattr(bare, "weights", None):
            tensors += layer._inbound_nodes[call].input_tensors
    return list(found.values())


def _nodes(model: Any) -> list[Any]:
    """The calls of a model's layers, in an order in which they can be computed."""
    by_depth = (getattr(model, "_functional", None) or model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _call(layer: Any, arguments: Any, prepare: Prepare, crop_by_crop: bool) -> list[Values]:
    given = [value for value in workshop.keras().tree.flatten(arguments) if isinstance(value, Values)]
    if is_model(layer):
        return run(layer, given, prepare, crop_by_crop=crop_by_crop)
    if type(layer).__name__ == "TimeDistributed":
        return [_frames(layer.layer, given[0], prepare)]
    prepare(layer, given[0])
    return _in_batches(layer, arguments, given, crop_by_crop)


def _frames(layer: Any, clips: Values, prepare: Prepare) -> Values:
    crops = clips
    if clips.windows is None:
        count, frames = clips.array.shape[:2]
        windows = np.arange(count * frames).reshape(count, frames)
        crops = Values(clips.array.reshape(count * frames, *clips.array.shape[2:]), windows)
    arguments: Any = ((crops,), {})
    if not is_model(layer) or endings(layer):
        return _call(layer, arguments, prepare, True)[0]
    # A backbone has only statistics to be measured, for which a sample will do; the rest of it runs as a whole.
    run(layer, [Values(crops.sample)], prepare, crop_by_crop=True)
    return _in_batches(layer, arguments, [crops], True)[0]


def _in_batches(layer: Any, arguments: Any, given: list[Values], crop_by_crop: bool) -> list[Values]:
    tree = workshop.keras().tree
    first = given[0]
    step = max(1, _BATCH // max(1, first.rows(slice(0, 1), crop_by_crop).size))
    parts = []
    for at in range(0, first.count(crop_by_crop), step):
        positional, named = tree.map_structure(_taker(slice(at, at + step), crop_by_crop), arguments)
        parts.append([np.asarray(item) for item in tree.flatten(layer(*positional, **named))])
    windows = first.windows if crop_by_crop else None
    return [Values(np.concatenate(column), windows) for column in zip(*parts, strict=True)]


def _taker(rows: slice, crop_by_crop: bool) -> Callable[[Any], Any]:
    return lambda value: value.rows(rows, crop_by_crop) if isinstance(value, Values) else value
