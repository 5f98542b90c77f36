"""Puts the nodes of a lower precision in the place of a prepared graph's own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from deepfake_edge.converters.failures import last_line
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop


def rewritten(model: Any, nodes: Sequence[Any], constants: Iterable[Any], what: str) -> bytes:
    """Serialise a model with other nodes.

    Args:
        model: the onnx ModelProto of the prepared graph; changed.
        nodes: NodeProtos in topological order, instead of the model's own.
        constants: TensorProtos that they read besides the model's own, of which those that none reads are dropped.
        what: the precision, for the message.
    Raises:
        ConversionError: it is not valid ONNX.
    """
    graph = model.graph
    used = {name for node in nodes for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *constants])
    try:
        workshop.onnx().checker.check_model(model, full_check=True)
    except Exception as error:
        raise ConversionError(f"the {what} network is not valid ONNX: {last_line(error)}") from error
    return bytes(model.SerializeToString(deterministic=True))
