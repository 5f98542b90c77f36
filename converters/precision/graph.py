"""A network's graph as lower precisions need it: prepared once, then looked at from all sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepfake_edge.converters.exporting.canonical import canonical
from deepfake_edge.converters.failures import last_line
from deepfake_edge.converters.precision import folding
from deepfake_edge.data import Floats
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

# The first opset with per-channel QuantizeLinear, and the one that older graphs are brought to.
_LEAST_OPSET, _OPSET = 13, 17
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
# What makes one number of a whole map.
POOLS = frozenset({"GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "ReduceL1", "ReduceL2", "ReduceMax",
                    "ReduceMean", "ReduceMin", "ReduceSum"})  # fmt: skip
# What a classifier no longer has behind it.
_TRUNK = POOLS | {"AveragePool", "Conv", "ConvTranspose", "LayerNormalization", "MaxPool"}


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that can be computed in int8.

    Attributes:
        name: the node's.
        kind: its operator.
        depthwise: whether it is a convolution of which each channel reads one channel only.
        multiply_adds: of one item of the batch; an axis that is not known counts as 1.
    """

    name: str
    kind: str
    depthwise: bool
    multiply_adds: int


def prepare(graph: bytes) -> bytes:
    """Bring a float32 network into the form that lower precisions are made from.

    Batch normalisations and factors are folded into the convolutions before them, zero padding into the convolutions
    after it, computations on constants are done; nodes are in topological order, named uniquely and in the same way
    for the same graph; every value has its inferred type and shape.

    Args:
        graph: serialised ONNX of one input, already checked by `onnx_wire.check_onnx`.
    Raises:
        ConversionError: it is quantised or partly in another precision already, is not valid ONNX (its nodes run in a
            circle, say), or its shapes cannot be inferred.
    """
    onnx = workshop.onnx()
    model = onnx.load_from_string(graph)
    _refuse_lowered(model)
    try:
        onnx.checker.check_model(model)
        if _opset(model) < _LEAST_OPSET:
            model = onnx.version_converter.convert_version(model, _OPSET)
        model = folding.folded(_inferred(model))
        weights = {item.name for item in model.graph.initializer}
        (taken,) = [_port(item) for item in model.graph.input if item.name not in weights]
        model = onnx.load_from_string(canonical(model, taken, *map(_port, model.graph.output)))
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(f"the network cannot be prepared for fp16 or int8: {last_line(error)}") from error
    return bytes(model.SerializeToString(deterministic=True))


def quantisable(graph: bytes) -> tuple[Layer, ...]:
    """The layers of a prepared graph that can be computed in int8, in topological order.

    Convolutions and products with constant weights, without what comes after the last convolution or computes on
    globally pooled values alone: a classifier, a recurrence's input projection, a squeeze-and-excitation. They cost
    next to nothing and decide most.
    """
    view = Graph.read(graph)
    tail = view.tail
    return tuple(
        Layer(node.name, node.op_type, view.is_depthwise(node), view.multiply_adds(node))
        for node in view.nodes
        if view.has_weights(node) and node.name not in tail
    )


@dataclass(frozen=True)
class Graph:
    """A prepared graph, to be looked at.

    Attributes:
        model: the onnx ModelProto.
    """

    model: Any

    @classmethod
    def read(cls, graph: bytes) -> Graph:
        """Open what `prepare` gave."""
        return cls(workshop.onnx().load_from_string(graph))

    @cached_property
    def nodes(self) -> Sequence[Any]:
        """In topological order."""
        return list(self.model.graph.node)

    @cached_property
    def initializers(self) -> Mapping[str, Any]:
        """TensorProtos by name."""
        return {item.name: item for item in self.model.graph.initializer}

    @cached_property
    def outputs(self) -> frozenset[str]:
        """Names of the network's outputs."""
        return frozenset(item.name for item in self.model.graph.output)

    @cached_property
    def producers(self) -> Mapping[str, Any]:
        """The node that gives each value."""
        return {name: node for node in self.nodes for name in node.output if name}

    @cached_property
    def readers(self) -> Mapping[str, Sequence[Any]]:
        """The nodes that take each value, one entry for each time."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                if name:
                    found.setdefault(name, []).append(node)
        return found

    @cached_property
    def floats(self) -> frozenset[str]:
        """Values that are float32, the weights among them."""
        return self.of_type(workshop.onnx().TensorProto.FLOAT)

    def of_type(self, kind: int) -> frozenset[str]:
        """Values of one of ONNX's element types."""
        typed = {name for name, item in self.initializers.items() if item.data_type == kind}
        return frozenset(typed | {item.name for item in self._values if item.type.tensor_type.elem_type == kind})

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int | None, ...]]:
        """The known shapes; None for an axis that is not known."""
        known: dict[str, tuple[int | None, ...]] = {name: tuple(item.dims) for name, item in self.initializers.items()}
        return known | {item.name: _axes(item) for item in self._values if item.type.tensor_type.HasField("shape")}

    @cached_property
    def tail(self) -> frozenset[str]:
        """Names of the nodes that decide and cost next to nothing.

        Those that compute on globally pooled values alone, and those with no convolution, pooling or normalisation
        after them.
        """
        pooled: set[str] = set()
        found = set()
        for node in self.nodes:
            taken = self.activations(node)
            if taken and pooled.issuperset(taken):
                found.add(node.name)
            if node.name in found or node.op_type in POOLS:
                pooled.update(node.output)
        before_trunk: set[str] = set()
        for node in reversed(self.nodes):
            if node.op_type in _TRUNK or not before_trunk.isdisjoint(node.output):
                before_trunk.update(node.input)
            else:
                found.add(node.name)
        return frozenset(found)

    def activations(self, node: Any) -> list[str]:
        """A node's inputs that are no constants."""
        return [name for name in node.input if name and name not in self.initializers]

    def has_weights(self, node: Any) -> bool:
        """Whether a node is a convolution or a product with constant float32 weights, as int8 kernels know them."""
        if node.op_type not in WEIGHTED or len(node.input) < 2 or node.input[1] not in self.initializers:
            return False
        if node.input[0] in self.initializers or node.input[1] not in self.floats:
            return False
        if node.op_type == "MatMul":
            return len(self.shapes[node.input[1]]) == 2
        plain = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        return node.op_type != "Gemm" or all(attribute(node, name, value) == value for name, value in plain.items())

    def output_axis(self, node: Any) -> int:
        """Which axis of a weighted node's weights counts its output channels."""
        if node.op_type == "Gemm":
            return 0 if attribute(node, "transB", 0) else 1
        return 0 if node.op_type == "Conv" else 1

    def is_depthwise(self, node: Any) -> bool:
        """Whether each channel of a convolution reads one channel only."""
        return bool(attribute(node, "group", 1) > 1) and self.shapes[node.input[1]][1] == 1

    def multiply_adds(self, node: Any) -> int:
        """Of one item of the batch, for a node that `has_weights`."""
        weights = self.shapes[node.input[1]]
        counted = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
        places = math.prod(axis or 1 for axis in self.shapes.get(counted, ())[1:])
        outer = 0 if node.op_type == "ConvTranspose" else self.output_axis(node)
        return places * math.prod(length or 1 for axis, length in enumerate(weights) if axis != outer)

    def constant(self, name: str) -> Floats:
        """The values of a weight."""
        values: Floats = workshop.onnx().numpy_helper.to_array(self.initializers[name])
        return values

    @property
    def _values(self) -> Sequence[Any]:
        graph = self.model.graph
        return [*graph.input, *graph.output, *graph.value_info]


def attribute(node: Any, name: str, default: Any) -> Any:
    """A node's attribute, or what it is by default."""
    for item in node.attribute:
        if item.name == name:
            return workshop.onnx().helper.get_attribute_value(item)
    return default


def _refuse_lowered(model: Any) -> None:
    onnx = workshop.onnx()
    operators = {node.op_type for node in model.graph.node}
    if operators & {"QuantizeLinear", "DequantizeLinear"}:
        raise ConversionError("the network is quantised already: fp16 and int8 are made from a float32 model")
    low = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
    made = [attribute(node, "to", 0) for node in model.graph.node if node.op_type == "Cast"]
    made += [item.data_type for item in model.graph.initializer]
    made += [item.t.data_type for node in model.graph.node for item in node.attribute if item.HasField("t")]
    if any(kind in low for kind in made):
        raise ConversionError("the network is partly in float16 already: fp16 and int8 are made from a float32 model")


def _opset(model: Any) -> int:
    return max(int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx"))


def _inferred(model: Any) -> Any:
    return workshop.onnx().shape_inference.infer_shapes(model, data_prop=True)


def _axes(item: Any) -> tuple[int | None, ...]:
    return tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in item.type.tensor_type.shape.dim)


def _port(item: Any) -> tuple[str, tuple[int | None, ...]]:
    return item.name, _axes(item)
