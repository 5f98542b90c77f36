"""Automatic mixed precision: the layers that lose most go back to float32, until the gate is passed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
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
        stages: the networks on the way: all lowered, one group back, two groups back, ..., `graph`.
        figures: of `graph`, on held-out crops.
        objections: what the gate has against it; empty where it passed.
    """

    graph: bytes
    lowered: tuple[str, ...]
    put_back: tuple[Group, ...]
    stages: tuple[bytes, ...] = field(repr=False)
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
    gate (on held-out crops).
    """
    names = [layer.name for layer in layers]
    stages = [build(names)]
    figures, objections = judge(stages[0])
    put_back: list[Group] = []
    if objections:
        groups = told(_groups(layers), "looking for the layers that lose most", progress)
        ranked = sorted((_weighed(group, layers, build, loss) for group in groups), key=lambda group: -group.loss)
        for group in ranked:
            put_back.append(group)
            if progress is not None:
                progress(f"it does not pass ({'; '.join(objections)}): back to float32 go {', '.join(group.layers)}")
            gone = {name for each in put_back for name in each.layers}
            names = [layer.name for layer in layers if layer.name not in gone]
            if not names:
                break
            stages.append(build(names))
            figures, objections = judge(stages[-1])
            if not objections:
                break
    return Mixed(stages[-1], tuple(names), tuple(put_back), tuple(stages), figures, objections)


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
