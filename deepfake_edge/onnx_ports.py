"""What an ONNX graph gives, read from its bytes: without the onnx package, and without loading its weights."""

from __future__ import annotations

from deepfake_edge.wire_format import fields, text

# Field numbers of onnx.proto3.
_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME = 7, 12, 1


def output_names(graph: bytes, name: str) -> tuple[str, ...]:
    """The names of a graph's outputs, in order.

    Args:
        graph: serialised ONNX.
        name: what to call it in a message.
    Raises:
        BundleError: it is not a protobuf message.
    """
    found = [memoryview(graph)]
    for number in (_MODEL_GRAPH, _GRAPH_OUTPUT, _VALUE_NAME):
        found = [inner for message in found for inner in _messages(message, number, name)]
    return tuple(text(value) for value in found)


def _messages(message: memoryview, wanted: int, name: str) -> list[memoryview]:
    return [value for number, value in fields(message, name) if number == wanted and isinstance(value, memoryview)]
