"""ONNX Runtime as a network: what it refuses is said in our own words, once."""

from __future__ import annotations

import numpy as np
import onnxruntime
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


def test_its_own_format_which_the_check_of_onnx_does_not_know_is_refused(tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "x.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(brightness_graph("features", None), options, providers=["CPUExecutionProvider"])
    with pytest.raises(BundleError, match="x: ONNX Runtime refuses the graph"):
        OnnxRuntimeNetwork((tmp_path / "x.ort").read_bytes(), name="x")
