"""What the exporter lacks or trips over, put right: handlers and rewriters in the form that tf2onnx calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from deepfake_edge.converters.exporting.canonical import constants_of
from deepfake_edge.training import workshop


def handlers() -> dict[str, Any]:
    """For operators that it does not know, by their names in TensorFlow."""
    return {"Erfc": (_erfc, [])}


def rewriters() -> list[Any]:
    """For graphs that it would fail on."""
    return [_scalars_to_vectors]


def bind(model: Any, captures: Any) -> None:
    """Give the model the arrays that layers hold outside of their weights, which the exporter leaves as inputs.

    Args:
        model: an onnx ModelProto.
        captures: of the traced function: pairs of what it captured and of its placeholder.
    """
    inputs = {item.name for item in model.graph.input}
    for held, placeholder in captures:
        if placeholder.name in inputs:
            model.graph.initializer.append(workshop.onnx().numpy_helper.from_array(held.numpy(), placeholder.name))


def keep_zeros(model: Any) -> None:
    """Keep ONNX Runtime from taking zeros around a max pooling's input for its own padding, which never wins.

    Its fusion of Pad and MaxPool (1.31) is right only for inputs that are never negative. It leaves other constants
    alone, so the zeros become the smallest normal number.
    """
    numpy_helper = workshop.onnx().numpy_helper
    producers = {name: node for node in model.graph.node for name in node.output}
    zeros = {name for name, values in constants_of(model.graph).items() if not values.any()}
    tiny = numpy_helper.from_array(np.array(np.finfo(np.float32).tiny, np.float32), "smallest_normal")
    for node in model.graph.node:
        pad = producers.get(node.input[0]) if node.op_type == "MaxPool" else None
        if pad is None or pad.op_type != "Pad" or (len(pad.input) > 2 and pad.input[2] and pad.input[2] not in zeros):
            continue
        before = producers.get(pad.input[0])
        if before is None or before.op_type not in ("Relu", "Sigmoid", "Softmax"):
            pad.input[:] = [*pad.input[:2], tiny.name]
            if tiny not in model.graph.initializer:
                model.graph.initializer.append(tiny)


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """The exact GELU's erfc(x) = 1 - erf(x), of which the exporter knows the second only."""
    kind = {"shapes": node.output_shapes, "dtypes": node.output_dtypes}
    outputs = list(node.output)
    erf = context.make_node("Erf", node.input, **kind)
    one = context.make_const(f"{name}_one", np.array(1.0, np.float32))
    context.remove_node(name)
    context.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=outputs, **kind)


def _scalars_to_vectors(graph: Any, nodes: Any) -> Any:
    """A number added to a convolution ends its removal of transpositions (`max` of an empty shape): make it (1,)."""
    for node in nodes:
        if node.type not in ("Add", "AddV2") or not node.inputs[1].is_const() or not graph.get_shape(node.input[0]):
            continue
        value = node.inputs[1].get_tensor_value(as_list=False)
        if value.shape == ():
            vector = graph.make_const(f"{node.name}_vector", value.reshape(1))
            graph.replace_input(node, node.input[1], vector.output[0], 1)
    return graph.get_nodes()
