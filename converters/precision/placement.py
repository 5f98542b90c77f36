"""Where Q/DQ pairs stand: which inputs of which nodes are read in int8, and with which range.

TensorRT's recommendations ("Q/DQ Layer-Placement Recommendations" in its guide to quantised types): inputs of weighted
operators are quantised, outputs are not; of a residual Add every input is, but for one convolution that feeds it
alone, so that Conv and Add become one kernel; what only moves values is passed through in int8.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from deepfake_edge.converters.precision.graph import Graph

# An input: its node's name and its number. What it maps to is the value whose range it is quantised with.
Input: TypeAlias = tuple[str, int]
# Clipping and these commute, so that what is quantised after them may as well be before.
_MOVES = frozenset({"Concat", "Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_ACTIVATIONS = frozenset({"Clip", "Relu"})


def symmetric_places(view: Graph, layers: Collection[str], sources: Mapping[str, str]) -> dict[Input, str]:
    """The pairs that TensorRT and OpenVINO want.

    Args:
        view: the graph.
        layers: names of the nodes that are computed in int8.
        sources: for values that have no range of their own, whose they have.
    """
    plan = _Plan(view, sources)
    for node in view.nodes:
        if node.name in layers:
            plan.want(node, 0)
    for node in view.nodes:
        free = _free_branch(view, node, layers)
        if free is not None:
            plan.want(node, 1 - free)
    return plan.found


def unsigned_places(view: Graph, layers: Collection[str], sources: Mapping[str, str]) -> dict[Input, str]:
    """The pairs that ONNX Runtime's CPU kernels want: around every operator, the outputs of layers among them.

    It has one kernel for a convolution, its ReLU and the quantisation of what they give; no free branches.

    Args:
        view: the graph.
        layers: names of the nodes that are computed in int8.
        sources: for values that have no range of their own, whose they have.
    """
    plan = _Plan(view, sources)
    quantised: set[str] = set()
    weighted = {node.name for node in view.nodes if view.has_weights(node)}
    for node in view.nodes:
        joined = node.op_type == "Add" and len(view.activations(node)) == 2
        if node.name in layers or (joined and not quantised.isdisjoint(node.input)):
            quantised.update(view.activations(node))
            quantised.add(_activated(view, node.output[0]))
        elif (moved := _moved(view, node)) and quantised.issuperset(moved):
            quantised.add(node.output[0])
    # The last readers first: what is moved takes the range that it has in the end.
    for node in reversed(view.nodes):
        for place, name in enumerate(node.input):
            if name in quantised and (node.name in layers or node.name not in weighted):
                plan.want(node, place)
    return plan.found


@dataclass(slots=True)
class _Plan:
    view: Graph
    sources: Mapping[str, str]
    found: dict[Input, str] = field(default_factory=dict)

    def want(self, node: Any, place: int) -> None:
        """Read an input in int8, and what it was only moved from as well, with the same range."""
        source = self.sources.get(node.input[place], node.input[place])
        stack = [(node, place)]
        while stack:
            reader, number = stack.pop()
            if (reader.name, number) in self.found:
                continue
            self.found[reader.name, number] = source
            maker = self.view.producers.get(reader.input[number])
            if maker is not None:
                moved = _moved(self.view, maker)
                stack += [(maker, at) for at, name in enumerate(maker.input) if name in moved]


def _free_branch(view: Graph, node: Any, layers: Collection[str]) -> int | None:
    """Which input of a residual Add a convolution in int8 gives to it alone; the last such convolution."""
    if node.op_type != "Add" or len(view.activations(node)) != 2 or node.input[0] == node.input[1]:
        return None
    order = {item.name: number for number, item in enumerate(view.nodes)}
    free = []
    for place, name in enumerate(node.input):
        maker = view.producers.get(name)
        alone = len(view.readers[name]) == 1 and name not in view.outputs
        if maker is not None and maker.op_type == "Conv" and maker.name in layers and alone:
            free.append((order[maker.name], place))
    return max(free)[1] if free else None


def _moved(view: Graph, node: Any) -> list[str]:
    """What a node only moves from place to place; of its inputs not the shape, which may be computed."""
    return [name for name in view.activations(node) if node.op_type in _MOVES and name in view.floats]


def _activated(view: Graph, name: str) -> str:
    """What a value is once the activation that alone reads it is done."""
    readers = view.readers.get(name, ())
    if len(readers) == 1 and readers[0].op_type in _ACTIVATIONS and name not in view.outputs:
        return str(readers[0].output[0])
    return name
