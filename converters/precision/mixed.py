"""Automatic mixed precision: the layers that lose most go back to float32, until the gate is passed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeAlias

from deepfake_edge.converters.precision.graph import Layer
from deepfake_edge.training.progress import Progress, told

Build: TypeAlias = Callable[[Collection[str]], bytes]
"""The names of the lowered layers -> the network with these lowered and all others in float32."""
Judge: TypeAlias = Callable[[bytes], tuple[dict[str, Any], list[str]]]
"""A network -> its figures on the held-out crops, and what the gate has against it."""
Loss: TypeAlias = Callable[[bytes], float]
"""A network -> how far it lies from float32 on calibration crops."""

_MOST_GROUPS = 12
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that follow each other, and what lowering these alone costs.

    Attributes:
        layers: their names.
        multiply_adds: their share of the work of all layers that can be lowered, 0..1.
        loss: see `Loss`.
    """

    layers: tuple[str, ...]
    multiply_adds: float
    loss: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """What came of it.

    Attributes:
        graph: the network; with objections, the last that was tried.
        lowered: names of its lowered layers.
        put_back: the groups that went back to float32, the most sensitive first.
        figures: of `graph`, on held-out crops.
        objections: what the gate has against it; empty where it passed.
    """

    graph: bytes
    lowered: tuple[str, ...]
    put_back: tuple[Group, ...]
    figures: dict[str, Any]
    objections: list[str]

    @property
    def worst(self) -> str:
        """The layers that hurt most, in words."""
        names = [name for group in self.put_back for name in group.layers]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"the layers that lose most: {', '.join(names[:_NAMED])}{more}"


def search(layers: Sequence[Layer], build: Build, judge: Judge, loss: Loss, progress: Progress | None) -> Mixed:
    """Lower everything; where the gate objects, put back group after group, the most sensitive first.

    How sensitive a group is, is measured by lowering it alone (on calibration crops); whether the rest passes, by the
    gate (on held-out crops). Once it passes, groups that went back before are lowered again where it passes even so.
    """
    desk = _Desk([layer.name for layer in layers], build, judge)
    found = desk.judged(())
    if not found.objections:
        return found
    groups = told(_groups(layers), "looking for the layers that lose most", progress)
    ranked = sorted((_weighed(group, layers, build, loss) for group in groups), key=lambda group: -group.loss)
    for count, group in enumerate(ranked, start=1):
        if progress is not None:
            progress(f"it does not pass ({'; '.join(found.objections)}): back to float32 go {', '.join(group.layers)}")
        if count == len(ranked):
            return replace(found, lowered=(), put_back=tuple(ranked))
        found = desk.judged(ranked[:count])
        if not found.objections:
            break
    for group in reversed(found.put_back[:-1]):
        fewer = desk.judged([each for each in found.put_back if each is not group])
        found = found if fewer.objections else fewer
    return found


@dataclass(frozen=True, slots=True)
class _Desk:
    names: Sequence[str]
    build: Build
    judge: Judge

    def judged(self, put_back: Sequence[Group]) -> Mixed:
        gone = {name for group in put_back for name in group.layers}
        lowered = tuple(name for name in self.names if name not in gone)
        graph = self.build(lowered)
        return Mixed(graph, lowered, tuple(put_back), *self.judge(graph))


def _groups(layers: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """Up to `_MOST_GROUPS` runs of layers, of as many layers each as can be."""
    count = min(_MOST_GROUPS, len(layers))
    ends = [round(len(layers) * place / count) for place in range(count + 1)]
    return [tuple(layers[start:end]) for start, end in pairwise(ends)]


def _weighed(group: Sequence[Layer], layers: Sequence[Layer], build: Build, loss: Loss) -> Group:
    names = tuple(layer.name for layer in group)
    whole = sum(layer.multiply_adds for layer in layers)
    share = sum(layer.multiply_adds for layer in group) / max(whole, 1)
    return Group(names, round(share, 4), loss(build(names)))
