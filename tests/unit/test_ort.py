"""ONNX Runtime as a network: what it refuses is said in our own words, once."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from deepfake_edge.errors import BundleError, InferenceError
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from fakes import brightness_graph, serialise


def test_a_graph_whose_names_are_no_text():
    graph = brightness_graph("features", None).replace(b"\x12\x01n", b"\x12\x01\xe2")
    with pytest.raises(BundleError, match="x: ONNX Runtime refuses the graph"):
        OnnxRuntimeNetwork(graph, name="x")


def test_a_failure_is_raised_and_nothing_is_printed(capfd):
    shape = np.array([1, 5])
    reshape = [helper.make_node("Reshape", ["window", "shape"], ["outputs"])]
    graph = serialise(reshape, {"shape": shape}, ("outputs", [1, 5]), ("window", ["a", "b"]))
    network = OnnxRuntimeNetwork(graph, name="x")
    with pytest.raises(InferenceError, match="x: ONNX Runtime failed"):
        network.run({"window": np.zeros((2, 3), np.float32)})
    assert capfd.readouterr() == ("", "")
