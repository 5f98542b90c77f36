"""Frees an ONNX graph from the batch that it was exported with, where that provably changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deepfake_edge.converters.exporting.canonical import constants_of
from deepfake_edge.training import workshop

_RECURRENT = {"LSTM", "GRU", "RNN"}
_INITIAL_STATES = (5, 6)
# Of zeros, these make zeros.
_KEEPS_ZEROS = frozenset({"Cast", "Expand", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile",
                          "Transpose", "Unsqueeze"})  # fmt: skip


def drop_zero_states(model: Any) -> None:
    """Leave out initial states that are zero, as they are when left out: exporters write them for one batch."""
    constants, producers = constants_of(model.graph), _producers(model.graph)
    for node in model.graph.node:
        if node.op_type in _RECURRENT:
            for place in _INITIAL_STATES:
                if place < len(node.input) and _is_zero(node.input[place], constants, producers):
                    node.input[place] = ""


def free_reshapes(model: Any, shape: Sequence[int]) -> None:
    """Let reshapes to constant shapes take any batch.

    Axes at the front that stay as they are become 0 (copy); where not even the first one does, it becomes -1 (what
    is left), the others being known. At the batch that the graph was exported with, both mean what stood there.

    Args:
        model: an onnx ModelProto, changed in place.
        shape: its input's, at that batch.
    """
    onnx, graph = workshop.onnx(), model.graph
    constants = constants_of(graph)
    known = _shapes(model, shape)
    for number, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        asked = constants[node.input[1]].tolist()
        before, after = known.get(node.input[0]), known.get(node.output[0])
        if not before or not after or 0 in asked or asked[0] == -1:
            continue
        kept = 0
        while kept < min(len(before), len(after)) and before[kept] == after[kept]:
            kept += 1
        freed = [0] * kept + list(after[kept:]) if kept else [-1, *after[1:]]
        name = f"freed:{number}"
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(freed, np.int64), name))
        node.input[1] = name
        del node.attribute[:]


def _shapes(model: Any, shape: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The shapes of all values that are known when the input's is; {} where they cannot be inferred."""
    onnx = workshop.onnx()
    fixed = type(model)()
    fixed.CopyFrom(model)
    weights = {item.name for item in fixed.graph.initializer}
    (taken,) = [item for item in fixed.graph.input if item.name not in weights]
    taken.CopyFrom(onnx.helper.make_tensor_value_info(taken.name, onnx.TensorProto.FLOAT, list(shape)))
    del fixed.graph.value_info[:]
    for item in fixed.graph.output:
        item.type.tensor_type.ClearField("shape")
    found = {}
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    for item in (*inferred.value_info, *inferred.input, *inferred.output):
        axes = item.type.tensor_type.shape.dim
        if item.type.tensor_type.HasField("shape") and all(axis.HasField("dim_value") for axis in axes):
            found[item.name] = tuple(axis.dim_value for axis in axes)
    return found


def _is_zero(name: str, constants: Mapping[str, Any], producers: Mapping[str, Any]) -> bool:
    while name not in constants:
        node = producers.get(name)
        if node is None:
            return False
        if node.op_type == "ConstantOfShape":
            return all(not workshop.onnx().numpy_helper.to_array(item.t).any() for item in node.attribute)
        if node.op_type not in _KEEPS_ZEROS:
            return False
        name = node.input[0]
    return not constants[name].any()


def _producers(graph: Any) -> dict[str, Any]:
    return {name: node for node in graph.node for name in node.output if name}
