"""What an ONNX graph takes and gives, read from its bytes: without the onnx package, and without its weights."""

from __future__ import annotations

from deepfake_edge.wire_format import fields, text

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT = 7, 5, 11, 12
_VALUE_NAME, _TENSOR_NAME = 1, 8


def input_names(graph: bytes, name: str) -> tuple[str, ...]:
    """The names of what a graph is fed, in order; an input with a value of its own is none.

    Args:
        graph: serialised ONNX.
        name: what to call it in a message.
    Raises:
        BundleError: it is not a protobuf message.
    """
    valued = set(_texts(graph, (_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_NAME), name))
    return tuple(item for item in _texts(graph, (_MODEL_GRAPH, _GRAPH_INPUT, _VALUE_NAME), name) if item not in valued)


def output_names(graph: bytes, name: str) -> tuple[str, ...]:
    """The names of a graph's outputs, in order.

    Args:
        graph: serialised ONNX.
        name: what to call it in a message.
    Raises:
        BundleError: it is not a protobuf message.
    """
    return _texts(graph, (_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME), name)


def _texts(graph: bytes, path: tuple[int, ...], name: str) -> tuple[str, ...]:
    found = [memoryview(graph)]
    for number in path:
        found = [inner for message in found for inner in _messages(message, number, name)]
    return tuple(text(value) for value in found)


def _messages(message: memoryview, wanted: int, name: str) -> list[memoryview]:
    return [value for number, value in fields(message, name) if number == wanted and isinstance(value, memoryview)]
