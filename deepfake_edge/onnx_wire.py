"""Looks through an ONNX file's bytes for what must never reach a runtime, without the onnx package.

An edge device has no onnx package, and a runtime that meets external data opens files that the graph names.
So the protobuf wire format is walked here, only as deep as needed. Field numbers are those of onnx.proto3
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from deepfake_edge.errors import BundleError
from deepfake_edge.wire_format import count_numbers, fields, numbers, signed, text

MAX_NODES = MAX_TENSORS = 20_000
# What surrounds the weights: many small fields take a parser long, and memory many times their bytes.
_MAX_FIELDS, _MAX_OTHER_BYTES = 2_000_000, 16 * 1024**2
_MAX_NUMBERS = 1 << 16
# Beyond what any layer of a network for crops of at most 4096 pixels is given.
_MAX_EXTENT, _MAX_SHAPE = 1 << 16, 1 << 28
_MAX_AXES = 8

# What the graphs of convolutional, recurrent and transformer networks are made of once they are trained. Nothing
# that loops, branches, draws random numbers or handles text. Shapes may still be computed within a graph, which no look
# at its bytes can bound.
OPERATORS = frozenset({
    "Abs", "Acos", "Acosh", "Add", "AffineGrid", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "AveragePool", "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "ConvTranspose", "Cos", "Cosh", "CumSum", "DepthToSpace", "DequantizeLinear", "Div",
    "Dropout", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather",
    "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "GridSample", "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "IsInf", "IsNaN", "LRN", "LSTM", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "LogSoftmax", "LpNormalization", "LpPool", "MatMul", "Max", "MaxPool", "Mean", "MeanVarianceNormalization",
    "Min", "Mish", "Mod", "Mul", "Neg", "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QuantizeLinear", "RNN", "Range",
    "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
    "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "ReverseSequence", "Round", "Scatter",
    "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh",
    "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Xor",
})  # fmt: skip
_DOMAINS = ("", "ai.onnx")
# Exporters import the standard's second domain whether they use it or not.
_IMPORTED = (*_DOMAINS, "ai.onnx.ml")
# Attributes that say how far a layer reaches.
_EXTENTS = frozenset({"dilations", "hidden_size", "kernel_shape", "output_padding", "output_shape", "pads", "strides"})
# Operators that make as much as a tensor tells them to, and which of their inputs tells it.
_SHAPED = {"ConstantOfShape": 0, "Expand": 1, "OneHot": 1, "Pad": 1, "Range": 1, "Resize": 3, "Tile": 1}

# field numbers, for each message that can hold a tensor, a node or a graph
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 8, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 1, 2, 4, 5, 7
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_INTS = 1, 3, 8
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_STRINGS, _TENSOR_NAME, _TENSOR_RAW = 1, 2, 6, 8, 9
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_INT64 = 7
# data type -> bytes of an element in raw_data, and the field that holds elements otherwise
_ELEMENTS = {1: (4, 4), 2: (1, 5), 3: (1, 5), 4: (2, 5), 5: (2, 5), 6: (4, 5), _INT64: (8, 7), 9: (1, 5),
             10: (2, 5), 11: (8, 10), 12: (4, 11), 13: (8, 11), 16: (2, 5)}  # fmt: skip
_FIXED_SIZE = {4: 4, 10: 8}


def check_onnx(data: bytes, name: str) -> Mapping[str, int]:
    """Refuse an ONNX file that reaches outside itself, or is not the plain graph of a trained network.

    Args:
        data: the serialised ModelProto.
        name: what to call it in a message.
    Returns:
        how many nodes of each operator it has, by name.
    Raises:
        BundleError: it is not a protobuf message, holds no graph, refers to external data, uses an operator that
            is not in `OPERATORS` or from a custom domain, defines functions or training steps of its own, nests
            graphs, holds more nodes or tensors than `MAX_NODES` and `MAX_TENSORS` or far more around its weights than
            those can need, a tensor of text or one whose shape is not that of its data, or asks for values out of
            all proportion.
    """
    check = _Check(name)
    check.model(memoryview(data))
    if len(data) - check.weight_bytes > _MAX_OTHER_BYTES:
        raise check.refusal(f"more than {_MAX_OTHER_BYTES} bytes in it are no weights, which is refused")
    return dict(sorted(check.operators.items()))


@dataclass(slots=True)
class _Check:
    """One walk through a file.

    Attributes:
        walked: fields seen so far.
        weight_bytes: bytes of tensors' values seen so far.
        small: values of int64 tensors and constants that may be a shape, by their names.
        shapes: which operator takes its shape from which tensor.
    """

    name: str
    operators: Counter[str] = field(default_factory=Counter)
    nodes: int = 0
    tensors: int = 0
    walked: int = 0
    weight_bytes: int = 0
    small: dict[str, list[int]] = field(default_factory=dict)
    shapes: list[tuple[str, str]] = field(default_factory=list)

    def model(self, model: memoryview) -> None:
        graphs = []
        for number, value in self.fields(model):
            if number == _MODEL_GRAPH and isinstance(value, memoryview):
                graphs.append(value)
            elif number == _MODEL_OPSET and isinstance(value, memoryview):
                for inner, domain in self.fields(value):
                    if inner == 1:
                        self.domain(domain, _IMPORTED)
            elif number in (_MODEL_FUNCTIONS, _MODEL_TRAINING):
                what = "functions" if number == _MODEL_FUNCTIONS else "training steps"
                raise self.refusal(f"defines {what} of its own, which is refused")
        if len(graphs) != 1:
            raise self.refusal(f"wanted one ONNX graph, found {len(graphs)}")
        self.graph(graphs[0])

    def graph(self, graph: memoryview) -> None:
        for number, value in self.fields(graph):
            if not isinstance(value, memoryview):
                continue
            if number == _GRAPH_NODE:
                self.node(value)
            elif number == _GRAPH_INITIALIZER:
                self.tensor(value, None)
            elif number == _GRAPH_OUTPUT:
                deque(self.fields(value), maxlen=0)
            elif number == _GRAPH_SPARSE:
                raise self.refusal("holds sparse tensors, which is refused")
        unknown = sorted(set(self.operators) - OPERATORS)
        if unknown:
            named = ", ".join(repr(operator) for operator in unknown[:10])
            raise self.refusal(f"holds the operator {named}, which is refused")
        for operator, shape in self.shapes:
            values = self.small.get(shape, [])
            largest = max(values, default=0) if operator == "Pad" else math.prod(item or 1 for item in values)
            if largest > (_MAX_EXTENT if operator == "Pad" else _MAX_SHAPE):
                raise self.refusal(f"{operator} asks for {values} values, which is refused")

    def node(self, node: memoryview) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.refusal(f"holds more than {MAX_NODES} nodes")
        operator, output, taken, attributes = "", "", [], []
        for number, value in self.fields(node):
            if number == _NODE_INPUT:
                taken.append(value)
            elif number == _NODE_OUTPUT:
                output = output or text(value)
            elif number == _NODE_OP_TYPE:
                if operator:
                    raise self.refusal("is not an ONNX file (a node of two operators)")
                operator = text(value)
            elif number == _NODE_DOMAIN:
                self.domain(value, _DOMAINS)
            elif number == _NODE_ATTRIBUTE and isinstance(value, memoryview):
                attributes.append(value)
        self.operators[operator] += 1
        place = _SHAPED.get(operator)
        if place is not None and place < len(taken):
            self.shapes.append((operator, text(taken[place])))
        for attribute in attributes:
            self.attribute(attribute, output)

    def attribute(self, attribute: memoryview, output: str) -> None:
        name, tensors, values = "", [], []
        for number, value in self.fields(attribute):
            if number == _ATTRIBUTE_NAME:
                name = text(value)
            elif number == _ATTRIBUTE_INT and isinstance(value, int):
                values.append(value)
            elif number == _ATTRIBUTE_INTS:
                if count_numbers(value) > _MAX_NUMBERS:
                    raise self.refusal(f"the attribute {name!r} lists more than {_MAX_NUMBERS} numbers")
                values += numbers(value, self.name)
            elif number in _ATTRIBUTE_TENSORS and isinstance(value, memoryview):
                tensors.append(value)
            elif number in _ATTRIBUTE_SPARSE:
                raise self.refusal("holds sparse tensors, which is refused")
            elif number in _ATTRIBUTE_GRAPHS:
                raise self.refusal("holds a graph within its graph, which is refused")
        if len(tensors) > 1:
            raise self.refusal(f"the attribute {name!r} holds {len(tensors)} tensors, which is refused")
        for tensor in tensors:
            self.tensor(tensor, output)
        if name in ("value_int", "value_ints"):
            self.small[output] = [signed(item) for item in values]
        if name in _EXTENTS and any(abs(signed(item)) > _MAX_EXTENT for item in values):
            raise self.refusal(f"the attribute {name!r} is larger than {_MAX_EXTENT}")

    def tensor(self, tensor: memoryview, name: str | None) -> None:
        self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise self.refusal(f"holds more than {MAX_TENSORS} tensors")
        dims: list[int] = []
        types, contents = [], []
        for number, value in self.fields(tensor):
            if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value != 0):
                raise self.refusal("refers to external data, which is refused")
            if number == _TENSOR_DIMS:
                if count_numbers(value) > _MAX_AXES:
                    raise self.refusal(f"a tensor has more than {_MAX_AXES} axes, a shape that is refused")
                dims += numbers(value, self.name)
            elif number == _TENSOR_TYPE:
                types.append(value)
            elif number == _TENSOR_NAME:
                name = text(value) if name is None else name
            elif number == _TENSOR_RAW or 4 <= number <= 11:
                contents.append((number, value))
                self.weight_bytes += len(value) if isinstance(value, memoryview) else 0
        named = f"the tensor {name or ''!r}"
        kind = types[0] if len(types) == 1 and isinstance(types[0], int) else 0
        if kind not in _ELEMENTS or any(number == _TENSOR_STRINGS for number, _ in contents):
            raise self.refusal(f"{named} has a data type ({', '.join(map(str, types))}) that is refused")
        if len(dims) > _MAX_AXES or any(dim >= 1 << 63 for dim in dims):
            raise self.refusal(f"{named} has a shape that is refused: {[signed(dim) for dim in dims[:_MAX_AXES]]}")
        stored = self.stored(kind, contents)
        if stored != math.prod(dims):
            raise self.refusal(f"{named} is declared as {dims} and holds {stored} values")
        if kind == _INT64 and stored <= 2 * _MAX_AXES:
            self.small[name or ""] = self.small_values(contents)

    def stored(self, kind: int, contents: list[tuple[int, int | memoryview]]) -> int:
        """Count the elements; -1 when they are not stored as their type says."""
        size, place = _ELEMENTS[kind]
        count = 0
        for number, value in contents:
            if number == _TENSOR_RAW and isinstance(value, memoryview) and len(contents) == 1:
                return len(value) // size if len(value) % size == 0 else -1
            if number != place:
                return -1
            if number in _FIXED_SIZE:
                width = _FIXED_SIZE[number]
                if not isinstance(value, memoryview) or len(value) % width:
                    return -1
                count += len(value) // width
            else:
                count += count_numbers(value)
        return count

    def small_values(self, contents: list[tuple[int, int | memoryview]]) -> list[int]:
        values: list[int] = []
        for number, value in contents:
            if number == _TENSOR_RAW and isinstance(value, memoryview):
                values += [int.from_bytes(value[at : at + 8], "little", signed=True) for at in range(0, len(value), 8)]
            else:
                values += map(signed, numbers(value, self.name))
        return values

    def fields(self, message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        for item in fields(message, self.name):
            self.walked += 1
            if self.walked > _MAX_FIELDS:
                raise self.refusal(f"holds more than {_MAX_FIELDS} fields")
            yield item

    def domain(self, value: int | memoryview, allowed: tuple[str, ...]) -> None:
        if text(value) not in allowed:
            raise self.refusal(f"needs the custom operator domain {text(value)!r}, which is refused")

    def refusal(self, what: str) -> BundleError:
        return BundleError(f"{self.name}: {what}")
