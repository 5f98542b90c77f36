"""fp16 as a typed ONNX: what is computed in half precision says so in its types, with casts at the borders only.

TensorRT builds it strongly typed, other runtimes take it as it is. Inputs and outputs stay float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake_edge.converters.precision.graph import POOLS, WEIGHTED, Graph
from deepfake_edge.converters.precision.rewriting import rewritten
from deepfake_edge.data import Floats
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training import workshop

LARGEST = 65504.0
# Rounded to 11 bits, values are off by 2**-12 of themselves; this is what four times that is of a whole tensor.
_ROUNDING = 2.0**-10
# Sums over a whole map, normalisations, exponentials, recurrences; and what takes some of its inputs in float32 only.
_FLOAT32 = POOLS | {
    "AffineGrid", "Cast", "CastLike", "CumSum", "Einsum", "Erf", "Exp", "GRU", "Gelu", "GridSample",
    "GroupNormalization", "Hardmax", "InstanceNormalization", "LRN", "LSTM", "LayerNormalization", "Log", "LogSoftmax",
    "LpNormalization", "LpPool", "Mean", "MeanVarianceNormalization", "Mish", "OneHot", "Pow", "RNN", "Range",
    "Reciprocal", "ReduceLogSum", "ReduceLogSumExp", "ReduceProd", "ReduceSumSquare", "Resize", "Softmax", "Softplus",
    "Sqrt", "Sum", "Upsample",
}  # fmt: skip


def to_fp16(graph: bytes, keep: Collection[str] = ()) -> bytes:
    """Compute a prepared graph in float16 where that is safe.

    In float32 stay: the nodes to keep; sums over whole maps, normalisations, exponentials and recurrences; what comes
    after the last convolution or pooling, and what computes on globally pooled values alone; whatever has a constant
    that float16 would change by more than a thousandth or that lies outside of its range; and what stands between
    nothing but these.

    Args:
        graph: as `prepare` gave it.
        keep: names of nodes that stay in float32.
    Returns:
        the serialised model; nodes keep their names.
    Raises:
        InvalidInput: there is no node that is to be kept.
        ConversionError: the result is not valid ONNX.
    """
    view = Graph.read(graph)
    names = {node.name for node in view.nodes}
    if not names.issuperset(keep):
        raise InvalidInput(f"keep: wanted names of nodes, got {', '.join(sorted(set(keep) - names)[:5])}")
    lowered = _lowered(view, frozenset(keep))
    writer = _Writer(workshop.onnx(), view, {(item.name, False): item.name for item in view.model.graph.input})
    for node in view.nodes:
        writer.add(node, half=node.name in lowered)
    return writer.written()


def rounding(graph: bytes) -> bytes:
    """A typed graph that ONNX Runtime's CPU provider, its optimiser off, computes with the rounding of float16.

    It has no float16 convolutions there: it computes them in float32, and takes out the pairs of casts that come to
    stand between two of them, whether it optimises or not (1.31), so that nothing is rounded. What the typed graph
    gives on hardware with float16 is measured on this one instead: it copies every float16 value.
    """
    onnx = workshop.onnx()
    model = onnx.load_from_string(graph)
    halves = set(float16_nodes(graph))
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.name in halves:
            for place, name in enumerate(node.output):
                # One copy alone between two casts would be made a copy in float32.
                names = [f"{name}/unrounded", f"{name}/rounded", name]
                node.output[place] = names[0]
                for taken, given in itertools.pairwise(names):
                    nodes.append(onnx.helper.make_node("Identity", [taken], [given], name=f"{taken}/copy"))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return bytes(model.SerializeToString(deterministic=True))


def float16_nodes(graph: bytes) -> tuple[str, ...]:
    """Names of the nodes of a typed graph that compute in float16, in topological order; casts are none."""
    onnx = workshop.onnx()
    view = Graph(onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), strict_mode=True, data_prop=True))
    halves = view.of_type(onnx.TensorProto.FLOAT16)
    return tuple(node.name for node in view.nodes if node.op_type != "Cast" and not halves.isdisjoint(node.output))


def overflowing(largest: Mapping[str, float], graph: bytes) -> tuple[str, ...]:
    """The nodes of a prepared graph that must stay in float32 for the magnitudes that were seen on real crops.

    Those that give, and those that take, a value beyond half of what float16 holds.

    Args:
        largest: the largest magnitude of each value, by its name.
        graph: as `prepare` gave it.
    """
    beyond = {name for name, magnitude in largest.items() if not magnitude <= LARGEST / 2}
    view = Graph.read(graph)
    return tuple(node.name for node in view.nodes if not beyond.isdisjoint((*node.input, *node.output)))


def _lowered(view: Graph, keep: Collection[str]) -> frozenset[str]:
    """Names of the nodes that compute in float16."""
    changed = {name for name in view.initializers if name in view.floats and not _fits(view.constant(name))}
    halves: set[str] = set()
    lowered = set()
    for node in view.nodes:
        stays = node.name in keep or node.name in view.tail or node.op_type in _FLOAT32
        # Without weights it follows what it reads, so that nothing is cast to and fro around it.
        starts = node.op_type in WEIGHTED or not halves.isdisjoint(node.input)
        if starts and not stays and changed.isdisjoint(node.input):
            lowered.add(node.name)
            halves.update(node.output)
    return frozenset(lowered)


def _fits(values: Floats) -> bool:
    """Whether a constant is in float16 what it was: no overflow, and no more lost than by rounding."""
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float16).astype(np.float64)
    finite = np.isfinite(values)
    exact = values[finite].astype(np.float64)
    if not np.array_equal(values[~finite], rounded[~finite], equal_nan=True) or not np.isfinite(rounded[finite]).all():
        return False
    return bool(np.linalg.norm(rounded[finite] - exact) <= _ROUNDING * np.linalg.norm(exact))


@dataclass(slots=True)
class _Writer:
    """Writes nodes in their types, with one cast for each value that is needed in the other one.

    Attributes:
        names: the name of a value in float16 (True) or in float32 (False), as far as there is one.
    """

    onnx: Any
    view: Graph
    names: dict[tuple[str, bool], str]
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)

    def add(self, node: Any, half: bool) -> None:
        """Write a node that computes in float16, or in float32."""
        for place, name in enumerate(node.input):
            if name in self.view.floats:
                node.input[place] = self._read(name, half)
        given = [name for name in node.output if name in self.view.floats]
        self.names |= {(name, half): name for name in given}
        ending = [name for name in given if half and name in self.view.outputs]
        for name in ending:
            self.names[name, True] = f"{name}/float16"
            node.output[list(node.output).index(name)] = f"{name}/float16"
        self.nodes.append(node)
        for name in ending:
            self._cast(name, False, name)

    def _read(self, name: str, half: bool) -> str:
        """The name of a value in the type that a node computes in, cast to it when that is needed first."""
        if (name, half) in self.names:
            return self.names[name, half]
        title = f"{name}/{'float16' if half else 'float32'}"
        if name not in self.view.initializers:
            return self._cast(name, half, title)
        if not half:
            return name
        self.constants[title] = self.onnx.numpy_helper.from_array(self.view.constant(name).astype(np.float16), title)
        self.names[name, half] = title
        return title

    def _cast(self, name: str, half: bool, output: str) -> str:
        kind = self.onnx.TensorProto.FLOAT16 if half else self.onnx.TensorProto.FLOAT
        taken = [self.names[name, not half]]
        self.nodes.append(self.onnx.helper.make_node("Cast", taken, [output], name=f"{output}/cast", to=kind))
        self.names[name, half] = output
        return output

    def written(self) -> bytes:
        """The whole model."""
        return rewritten(self.view.model, self.nodes, self.constants.values(), "float16")
