"""An ONNX model that someone else exported, as the networks of a bundle.

What it computes stays what it was; its input and output take the form that a bundle wants, and its batch becomes free.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from deepfake_edge.converters.exporting.canonical import canonical
from deepfake_edge.converters.exporting.export import Networks
from deepfake_edge.converters.exporting.mends import keep_zeros
from deepfake_edge.converters.failures import last_line
from deepfake_edge.converters.onnx_models.batch import drop_zero_states, free_reshapes
from deepfake_edge.converters.onnx_models.file import Described, open_source
from deepfake_edge.converters.onnx_models.source import load, noise
from deepfake_edge.data import Floats
from deepfake_edge.errors import ConversionError, DeepfakeEdgeError
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training import workshop

# The largest difference of a probability between a batch and one item at a time.
_AGREES = 1e-5


def rewrite(data: bytes, described: Described) -> Networks:
    """Give a model the form of a bundle's networks.

    Args:
        data: as `describe` was given it.
        described: what that returned.
    Raises:
        ConversionError: it insists on the batch that it was exported with.
    """
    items = noise(described.layout)
    expected = open_source(data, described)(items)
    differences = []
    fixed = described.layout.batch is not None
    for freed in (fixed, not fixed):
        try:
            graph = _rewritten(data, described, freed)
            difference = _difference(graph, described, items, expected)
        except DeepfakeEdgeError as error:
            difference = last_line(error)
        if difference is None:
            return Networks(None, graph) if described.fused else Networks(graph, None)
        differences.append(difference)
    raise ConversionError(
        "the model only works at the batch that it was exported with; export it with a dynamic batch axis:",
        list(dict.fromkeys(differences)),
    )


def _rewritten(data: bytes, described: Described, freed: bool) -> bytes:
    onnx, layout = workshop.onnx(), described.layout
    model = load(data)
    drop_zero_states(model)
    keep_zeros(model)
    if freed:
        batch = layout.batch or 1
        free_reshapes(model, [(batch, *layout.plain)[axis] for axis in layout.order])
    graph, side = model.graph, layout.size_px
    weights = {item.name for item in graph.initializer}
    (source,) = [item.name for item in graph.input if item.name not in weights]
    taken, before = _front(described, source)
    given, after = _back(described, graph.output[0].name)
    nodes = [*before, *graph.node, *after]
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(shape, np.int64), name)
        for name, shape in (("bundle:plain", [-1, *layout.plain]), ("bundle:columns", [-1, described.outputs]))
    )
    del graph.node[:], graph.input[:], graph.output[:]
    graph.node.extend(nodes)
    graph.input.append(onnx.helper.make_tensor_value_info(taken, onnx.TensorProto.FLOAT, None))
    graph.output.append(onnx.helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, None))
    outputs = ("outputs", (None, described.outputs))
    if described.fused:
        return canonical(model, ("window", (None, layout.frames, 3 * side * side)), outputs)
    return canonical(model, ("crops", (None, 3, side, side)), outputs)


def _front(described: Described, source: str) -> tuple[str, list[Any]]:
    """What leads from a bundle's input to the model's: the input's name, and the nodes."""
    make, layout = workshop.onnx().helper.make_node, described.layout
    steps: list[tuple[str, list[str], dict[str, Any]]] = []
    if "T" in layout.axes:
        steps.append(("Reshape", ["bundle:plain"], {}))
    if layout.order != tuple(sorted(layout.order)):
        steps.append(("Transpose", [], {"perm": layout.order}))
    names = [f"bundle:input {number}" for number in range(len(steps))] + [source]
    return names[0], [
        make(kind, [names[number], *more], [names[number + 1]], **attributes)
        for number, (kind, more, attributes) in enumerate(steps)
    ]


def _back(described: Described, source: str) -> tuple[str, list[Any]]:
    """What leads from the model's output to a bundle's: the output's name, and the nodes."""
    make = workshop.onnx().helper.make_node
    nodes = [make("Reshape", [source, "bundle:columns"], ["bundle:numbers"])]
    if not described.logits:
        return "bundle:numbers", nodes
    last = (
        make("Softmax", ["bundle:numbers"], ["bundle:output"], axis=1)
        if described.outputs == 2
        else make("Sigmoid", ["bundle:numbers"], ["bundle:output"])
    )
    return "bundle:output", [*nodes, last]


def _difference(graph: bytes, described: Described, items: Floats, expected: Floats) -> str | None:
    """What is wrong with a rewritten network, tried on several items at once; None when it agrees with its source."""
    network = OnnxRuntimeNetwork(graph, name="on a batch")
    shape = (len(items), described.layout.frames, -1) if described.fused else (len(items), *items.shape[-3:])
    (given,) = network.run({network.inputs[0].name: items.reshape(shape)}).values()
    if given.shape != expected.shape:
        return f"a batch of {len(items)} gives {given.shape}"
    largest = float(np.abs(given - expected).max())
    return None if largest <= _AGREES else f"a batch of {len(items)} differs from one at a time by {largest:.3g}"
