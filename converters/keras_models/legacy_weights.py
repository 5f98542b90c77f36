"""Weights in Keras 2's HDF5: a list of layers, and for each the names of its arrays.

Keras goes by position there. That goes wrong without a word when layers were frozen while the file was written (a
frozen layer's weights come after all others) or when layers of equal shapes come in another order: here names decide
where they can, position where names say nothing, and where the two disagree nothing is loaded.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from deepfake_edge.errors import ConversionError

_NUMBERED = re.compile(r"(.*?)(?:_(\d+))?")


@dataclass(frozen=True, slots=True)
class _Weight:
    """A weight or a stored array: the path of its layer, its name in there, its shape, and itself."""

    layer: str
    name: str
    shape: tuple[int, ...]
    item: Any


_Pairs: TypeAlias = list[tuple[_Weight, _Weight]]
_Layer: TypeAlias = tuple[str, Sequence[_Weight]]


def pairs_of_layers(model: Any, file: Any) -> tuple[list[tuple[Any, Any]], list[str]]:
    """Find the stored array of each of a model's weights.

    Returns:
        (variable, dataset) pairs, and every reason why they do not fit.
    Raises:
        ConversionError: layers of the same shapes could be taken for one another.
    """
    group = file if "layer_names" in file.attrs or "layer_names0" in file.attrs else file["model_weights"]
    stored = [(name, _stored(group[name])) for name in _texts(group, "layer_names")]
    stored = [(name, weights) for name, weights in stored if weights]
    own = [(layer.name, _own(layer)) for layer in model.layers if layer.weights]
    own = [(name, weights) for name, weights in own if weights]
    by_name = {name.replace("/", "_"): (name, weights) for name, weights in stored}
    if set(by_name) == {name for name, _ in own}:
        stored = [by_name[name] for name, _ in own]
    pairs: _Pairs = []
    reasons: list[str] = []
    for place in range(max(len(own), len(stored))):
        title, wanted = own[place] if place < len(own) else ("no layer", ())
        source, found = stored[place] if place < len(stored) else ("nothing", ())
        matched = _match((title, wanted), (source, found))
        if matched is None:
            reasons += _differences((title, wanted), (source, found))
        else:
            pairs += matched
    return [(weight.item, array.item) for weight, array in pairs], reasons


def _own(layer: Any) -> list[_Weight]:
    """A layer's weights in the order in which Keras stores them."""
    weights = [*layer.trainable_weights, *layer.non_trainable_weights]
    return [_weight(item.path, item) for item in weights if "seed_generator" not in item.path]


def _stored(group: Any) -> list[_Weight]:
    return [_weight(name.partition(":")[0], group[name]) for name in _texts(group, "weight_names")]


def _weight(path: str, item: Any) -> _Weight:
    layer, _, name = path.rpartition("/")
    # What Keras 2 called so in a DepthwiseConv2D is a plain kernel in Keras 3.
    name = "kernel" if name == "depthwise_kernel" else name
    return _Weight(layer, name, tuple(item.shape), item)


def _texts(group: Any, key: str) -> list[str]:
    """A list of names; HDF5 takes no more than 64 kB in one piece, so Keras numbers the pieces of a long one."""
    pieces = [group.attrs[key]] if key in group.attrs else []
    while f"{key}{len(pieces)}" in group.attrs and key not in group.attrs:
        pieces.append(group.attrs[f"{key}{len(pieces)}"])
    texts = [item for piece in pieces for item in piece]
    return [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in texts]


def _match(own: _Layer, stored: _Layer) -> _Pairs | None:
    """Pair the weights of one layer (which may be a whole model) with those of a stored one; None: they differ."""
    wanted, found = own[1], stored[1]
    if len(wanted) != len(found):
        return None
    same_names = {(item.layer, item.name): item for item in found}
    if len(same_names) == len(found) and set(same_names) == {(item.layer, item.name) for item in wanted}:
        return _fitting([(item, same_names[item.layer, item.name]) for item in wanted])
    by_place = _fitting(list(zip(wanted, found, strict=True)))
    by_number = _numbered_pairs(wanted, found)
    if by_place is None or by_number is None:
        return by_place or by_number
    if {(id(a), id(b)) for a, b in by_place} != {(id(a), id(b)) for a, b in by_number}:
        raise ConversionError(
            f"{own[0]}: its layers have equal shapes, and names and order of those in {stored[0]} contradict each "
            "other; save the whole model (model.save) instead of its weights"
        )
    return by_place


def _fitting(pairs: _Pairs) -> _Pairs | None:
    return pairs if all(a.shape == b.shape and a.name == b.name for a, b in pairs) else None


def _numbered_pairs(wanted: Sequence[_Weight], found: Sequence[_Weight]) -> _Pairs | None:
    """Pair the layers of the same kind by the numbers that Keras gave them, which count on through a session."""
    left, right = _numbered(wanted), _numbered(found)
    if {key: len(items) for key, items in left.items()} != {key: len(items) for key, items in right.items()}:
        return None
    return [pair for key, items in left.items() for pair in zip(items, right[key], strict=True)]


def _numbered(weights: Sequence[_Weight]) -> Mapping[tuple[Any, ...], list[_Weight]]:
    kinds: dict[tuple[Any, ...], list[tuple[tuple[int, ...], int, _Weight]]] = defaultdict(list)
    for place, item in enumerate(weights):
        split = [match.groups() for part in item.layer.split("/") if (match := _NUMBERED.fullmatch(part))]
        numbers = tuple(int(number or 0) for _, number in split)
        kinds[tuple(base for base, _ in split), item.name, item.shape].append((numbers, place, item))
    return {key: [item for *_, item in sorted(items, key=lambda entry: entry[:2])] for key, items in kinds.items()}


def _differences(own: _Layer, stored: _Layer) -> list[str]:
    (title, wanted), (source, found) = own, stored
    if len(wanted) != len(found):
        return [f"{title}: wanted {_shapes(wanted)}, found {_shapes(found)} in {source}"]
    return [
        f"{title}, weight {place}: wanted {a.shape} {a.name}, found {b.shape} {b.name} in {source}"
        for place, (a, b) in enumerate(zip(wanted, found, strict=True))
        if a.shape != b.shape or a.name != b.name
    ]


def _shapes(weights: Sequence[_Weight]) -> str:
    if len(weights) > 6:
        return f"{len(weights)} weights"
    return " ".join(str(item.shape) for item in weights) or "no weights"
