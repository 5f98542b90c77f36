"""Looks through an ONNX file's bytes for what must never reach a runtime, without the onnx package.

An edge device has no onnx package, and a runtime that meets external data opens files that the graph names.
So the protobuf wire format is walked here, only as deep as needed. Field numbers are those of onnx.proto3
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

from collections.abc import Iterator

from deepfake_edge.errors import BundleError

ALLOWED_DOMAINS = ("", "ai.onnx")
LOOPING_OPERATORS = ("Loop", "Scan", "If")
_MAX_DEPTH = 8

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# field number -> message, for each message that can hold a tensor, a node or a graph
_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTIONS = 7, 8, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OP_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (5, 10), (6, 11), (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def check_onnx(data: bytes, name: str) -> None:
    """Refuse an ONNX file that reaches outside itself.

    Args:
        data: the serialised ModelProto.
        name: what to call it in a message.
    Raises:
        BundleError: it is not a protobuf message, holds no graph, refers to external data, uses an operator
            from a custom domain, defines functions of its own, or loops.
    """
    view = memoryview(data)
    graphs = 0
    for field, value in _fields(view, name):
        if field == _MODEL_GRAPH and isinstance(value, memoryview):
            graphs += 1
            _check_graph(value, name, 0)
        elif field == _MODEL_OPSET and isinstance(value, memoryview):
            for number, text in _fields(value, name):
                if number == 1:
                    _check_domain(text, name)
        elif field == _MODEL_FUNCTIONS:
            raise BundleError(f"{name}: defines functions of its own, which is refused")
    if graphs != 1:
        raise BundleError(f"{name}: wanted one ONNX graph, found {graphs}")


def _check_graph(graph: memoryview, name: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise BundleError(f"{name}: graphs nested deeper than {_MAX_DEPTH}")
    for field, value in _fields(graph, name):
        if not isinstance(value, memoryview):
            continue
        if field == _GRAPH_NODE:
            _check_node(value, name, depth)
        elif field == _GRAPH_INITIALIZER:
            _check_tensor(value, name)
        elif field == _GRAPH_SPARSE:
            raise BundleError(f"{name}: holds sparse tensors, which is refused")


def _check_node(node: memoryview, name: str, depth: int) -> None:
    for field, value in _fields(node, name):
        if field == _NODE_DOMAIN:
            _check_domain(value, name)
        elif field == _NODE_OP_TYPE and _text(value) in LOOPING_OPERATORS:
            raise BundleError(f"{name}: holds the operator {_text(value)}, which is refused")
        elif field == _NODE_ATTRIBUTE and isinstance(value, memoryview):
            for number, item in _fields(value, name):
                if not isinstance(item, memoryview):
                    continue
                if number in _ATTRIBUTE_TENSORS:
                    _check_tensor(item, name)
                elif number in _ATTRIBUTE_SPARSE:
                    raise BundleError(f"{name}: holds sparse tensors, which is refused")
                elif number in _ATTRIBUTE_GRAPHS:
                    _check_graph(item, name, depth + 1)


def _check_tensor(tensor: memoryview, name: str) -> None:
    for field, value in _fields(tensor, name):
        if field == _TENSOR_EXTERNAL or (field == _TENSOR_LOCATION and value != 0):
            raise BundleError(f"{name}: refers to external data, which is refused")


def _check_domain(value: int | memoryview, name: str) -> None:
    domain = _text(value)
    if domain not in ALLOWED_DOMAINS:
        raise BundleError(f"{name}: needs the custom operator domain {domain!r}, which is refused")


def _text(value: int | memoryview) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)


def _fields(message: memoryview, name: str) -> Iterator[tuple[int, int | memoryview]]:
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position, name)
        # Parsers keep the low 32 bits of a key, so a longer one is another field to them than to this walk.
        if not 8 <= key < 1 << 32:
            raise BundleError(f"{name}: is not an ONNX file (field key {key})")
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, position = _varint(message, position, name)
            yield field, value
            continue
        if kind == _BYTES:
            size, position = _varint(message, position, name)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise BundleError(f"{name}: is not an ONNX file (wire type {kind})")
        if size > end - position:
            raise BundleError(f"{name}: is not an ONNX file (cut short)")
        yield field, message[position : position + size]
        position += size


def _varint(message: memoryview, position: int, name: str) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise BundleError(f"{name}: is not an ONNX file (bad number)")
