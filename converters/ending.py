"""Whether a model ends in probabilities: read off its last step, since numbers may look like them by chance."""

from __future__ import annotations

from deepfake_edge.converters.steps import Graph
from deepfake_edge.training.workshop import keras

PROBABILITIES = "wanted a softmax over two classes or one sigmoid (logits: add an Activation layer)"


def gives_probabilities(graph: Graph) -> bool:
    """Whether the last step of a graph with an output of (batch, C) is a sigmoid of one or a softmax of two."""
    last = graph.last
    if last is None or len(last.inputs) != 1:
        return False
    outputs = graph.output_shape[1]
    activations = keras().activations
    if last.kind in ("Dense", "Activation"):
        return last.layer.activation is (activations.sigmoid if outputs == 1 else activations.softmax)
    if last.kind == "Softmax":
        return outputs == 2 and last.layer.axis in (-1, 1)
    return last.kind == "Sigmoid" and outputs == 1
