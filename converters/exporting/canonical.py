"""One way to write a graph down: the same computation gives the same bytes, whatever process exported it.

The exporter names values after counters and lists nodes in an order that depends on hashing. Here the nodes are
put in the order of a walk from the outputs, everything is named after what it does and when it comes, what nobody
reads is left out, equal constants are merged, and everything that says who wrote the file or when is dropped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from deepfake_edge.converters.failures import last_line
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

Port: TypeAlias = tuple[str, tuple[int | None, ...]]

# What ONNX 1.12 and opset 17 came with: runtimes refuse a version that is newer than they are. A newer opset
# brings its own.
IR_VERSION = 8
_CONSTANT_TYPES = {"value_float": "f4", "value_floats": "f4", "value_int": "i8", "value_ints": "i8"}
_ROLES = {"Conv": ("", "weight", "bias"), "Gemm": ("", "weight", "bias"), "MatMul": ("weight", "weight")}


def canonical(model: Any, taken: Port, *given: Port) -> bytes:
    """Rewrite a graph of one input.

    Args:
        model: an onnx ModelProto.
        taken: the input's name and shape; a None axis is dynamic.
        given: each output's name and shape, in the graph's order; the graph's name is the first one's.
    Returns:
        the serialised model.
    Raises:
        ConversionError: the graph has other inputs or outputs, gives what it takes, or the result is not valid ONNX.
    """
    onnx = workshop.onnx()
    graph = model.graph
    constants = constants_of(graph)
    inputs = [item.name for item in graph.input if item.name not in constants]
    title = given[0][0]
    if len(inputs) != 1 or len(graph.output) != len(given):
        raise ConversionError(f"the exported {title} graph has {len(inputs)} inputs and {len(graph.output)} outputs")
    nodes = [node for node in graph.node if node.output[0] not in constants]
    producers = {name: node for node in nodes for name in node.output if name}
    aliases = {node.output[0]: node.input[0] for node in nodes if node.op_type == "Identity"}
    lasts = [_follow(item.name, aliases) for item in graph.output]
    if lasts[0] == inputs[0] or any(last in constants for last in lasts):
        raise ConversionError(f"the exported {title} graph computes nothing from its input")
    names = {inputs[0]: taken[0]}
    for last, port in zip(lasts, given, strict=True):
        names.setdefault(last, port[0])
    writer = _Writer(onnx, constants, aliases, names)
    for node in _ordered(lasts, producers, aliases):
        writer.add(node)
    for last, port in zip(lasts, given, strict=True):
        if names[last] != port[0]:
            writer.copy(names[last], port[0])
    return _assemble(onnx, writer, taken, given, {item.domain: item.version for item in model.opset_import})


def operators(graph: bytes) -> dict[str, int]:
    """How many nodes of each operator a serialised graph has, by name."""
    model = workshop.onnx().load_from_string(graph)
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def constants_of(graph: Any) -> dict[str, Any]:
    """A graph's initializers and constant nodes as numpy arrays, by name."""
    numpy_helper = workshop.onnx().numpy_helper
    found = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            attribute = node.attribute[0]
            value = workshop.onnx().helper.get_attribute_value(attribute)
            if attribute.name == "value":
                found[node.output[0]] = numpy_helper.to_array(value)
            elif attribute.name in _CONSTANT_TYPES:
                found[node.output[0]] = np.array(value, _CONSTANT_TYPES[attribute.name])
    return found


def _follow(name: str, aliases: Mapping[str, str]) -> str:
    while name in aliases:
        name = aliases[name]
    return name


def _ordered(lasts: Sequence[str], producers: Mapping[str, Any], aliases: Mapping[str, str]) -> list[Any]:
    """Nodes in the order in which a walk from the outputs, first input first, has seen all that they need."""
    order: list[Any] = []
    done: set[str] = set()
    stack = list(reversed(lasts))
    while stack:
        node = producers.get(stack[-1])
        if node is None or stack[-1] in done:
            stack.pop()
            continue
        needed = [_follow(name, aliases) for name in node.input]
        waiting = [name for name in needed if name in producers and name not in done]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        # The first outputs of a node may be left out, so any of them stands for it.
        done.update(node.output)
        order.append(node)
        stack.pop()
    return order


@dataclass(slots=True)
class _Writer:
    """Renames nodes and values as they come, and collects the constants that they use."""

    onnx: Any
    constants: Mapping[str, Any]
    aliases: Mapping[str, str]
    names: dict[str, str]
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    _numbers: Counter[str] = field(default_factory=Counter)
    _kept: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def add(self, node: Any) -> None:
        kind = node.op_type.lower()
        title = f"{kind}_{self._numbers[kind]}"
        self._numbers[kind] += 1
        taken = [self._value(_follow(name, self.aliases), node, title, place) for place, name in enumerate(node.input)]
        for place, name in enumerate(node.output):
            if name:
                self.names.setdefault(name, title if len(node.output) == 1 else f"{title}_{place}")
        given = [self.names.get(name, "") for name in node.output]
        copy = self.onnx.NodeProto(op_type=node.op_type, name=title, domain=node.domain, input=taken, output=given)
        for attribute in sorted(node.attribute, key=lambda item: item.name):
            kept = copy.attribute.add()
            kept.CopyFrom(attribute)
            kept.doc_string = ""
        self.nodes.append(copy)

    def copy(self, name: str, output: str) -> None:
        """Give a value, an input perhaps, as an output under a name of its own."""
        self.nodes.append(self.onnx.NodeProto(op_type="Identity", name=f"copy_{output}", input=[name], output=[output]))

    def _value(self, name: str, node: Any, title: str, place: int) -> str:
        if not name or name not in self.constants:
            return self.names[name] if name else ""
        values = self.constants[name]
        key = (values.dtype.str, values.shape, hashlib.sha256(values.tobytes()).digest())
        if key not in self._kept:
            roles = _ROLES.get(node.op_type, ())
            role = roles[place] if place < len(roles) else f"constant_{place}"
            self._kept[key] = f"{title}_{role}"
            self.initializers.append(self.onnx.numpy_helper.from_array(values, self._kept[key]))
        return self._kept[key]


def _assemble(onnx: Any, writer: _Writer, taken: Port, given: Sequence[Port], opsets: Mapping[str, int]) -> bytes:
    title = given[0][0]
    version = opsets.get("", opsets.get("ai.onnx", 0))
    foreign = sorted({node.domain for node in writer.nodes} - {"", "ai.onnx"})
    if foreign:
        raise ConversionError(f"the exported {title} graph needs operators of the custom domain {', '.join(foreign)}")
    outputs = [_port(onnx, port) for port in given]
    graph = onnx.helper.make_graph(writer.nodes, title, [_port(onnx, taken)], outputs, writer.initializers)
    opset = [onnx.helper.make_opsetid("", version)]
    model = onnx.helper.make_model(
        graph,
        opset_imports=opset,
        ir_version=max(IR_VERSION, onnx.helper.find_min_ir_version_for(opset)),
        producer_name="deepfake-edge",
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        raise ConversionError(f"the exported {title} graph is not valid ONNX: {last_line(error)}") from error
    return bytes(model.SerializeToString(deterministic=True))


def _port(onnx: Any, port: Port) -> Any:
    name, shape = port
    axes: Sequence[int | str] = ["batch" if axis is None else axis for axis in shape]
    return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes)
