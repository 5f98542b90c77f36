"""OpenVINO as a network: it computes what ONNX Runtime computes, reads ONNX alone, and refuses in our own words."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import helper

from deepfake_edge.errors import BundleError, InferenceError, InvalidInput, MissingDependency
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime, precisions_of
from deepfake_edge.runtimes import openvino
from deepfake_edge.runtimes.openvino import OpenVinoNetwork
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from fakes import SIZE_PX, brightness_graph, mean_head, serialise

# Not importorskip: whoever imports it without more ado lets it call home.
pytestmark = pytest.mark.skipif(not precisions_of("openvino"), reason="OpenVINO is not installed")
needs_bf16 = pytest.mark.skipif("bf16" not in precisions_of("openvino"), reason="this CPU has no bfloat16")
IR = b'<?xml version="1.0"?><net name="x" version="11"><layers/><edges/></net>'


def crops(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3, SIZE_PX, SIZE_PX)).astype(np.float32)


def convolution() -> bytes:
    """crops -> 3x3 convolution, Relu, mean: (N, 4)."""
    nodes = [
        helper.make_node("Conv", ["crops", "weights"], ["mapped"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["mapped"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
    ]
    weights = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype(np.float32)
    return serialise(nodes, {"weights": weights}, ("features", ["n", 4]), ("crops", ["n", 3, SIZE_PX, SIZE_PX]))


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_a_batch_of_any_size_agrees_with_onnx_runtime_and_to_the_last_bit_with_its_crops(count):
    batch, network = crops(count), OpenVinoNetwork(convolution(), name="x")
    found = network.run({"crops": batch})["features"]
    np.testing.assert_allclose(
        found, OnnxRuntimeNetwork(convolution(), name="x").run({"crops": batch})["features"], atol=1e-6
    )
    alone = np.concatenate([network.run({"crops": crop[None]})["features"] for crop in batch])
    np.testing.assert_array_equal(found, alone)


def test_ports_have_the_names_of_the_graph_and_their_order():
    ours = OpenVinoNetwork(mean_head(3, frame_outputs="frame_outputs"), name="x")
    theirs = OnnxRuntimeNetwork(mean_head(3, frame_outputs="frame_outputs"), name="x")
    assert (ours.inputs, ours.outputs) == (theirs.inputs, theirs.outputs)
    window = {"window": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3, 1)}
    for name, value in theirs.run(window).items():
        np.testing.assert_allclose(ours.run(window)[name], value, atol=1e-6)


def test_an_output_that_passes_through_unchanged_keeps_its_name():
    nodes = [helper.make_node("Relu", ["window"], ["a"]), helper.make_node("Identity", ["a"], ["outputs"])]
    graph = serialise(nodes, {}, ("outputs", ["n", 2]), ("window", ["n", 2]))
    (item,) = OpenVinoNetwork(graph, name="x").outputs
    assert item.name == "outputs"


def test_several_threads_may_call_at_once():
    network = OpenVinoNetwork(brightness_graph("features", None), name="x", threads=1)
    with ThreadPoolExecutor(8) as pool:
        for level, found in zip(
            range(64),
            pool.map(lambda level: network.run({"crops": np.full_like(crops(1), level)}), range(64)),
            strict=True,
        ):
            assert found["features"][0, 0] == pytest.approx(4 * level, rel=1e-5)


@pytest.mark.parametrize("data", [b"", b"nonsense", IR, brightness_graph("features", None)[:200]])
def test_what_is_no_onnx_is_refused_and_nothing_is_printed(data, capfd):
    with pytest.raises(BundleError, match="x: OpenVINO refuses the graph"):
        OpenVinoNetwork(data, name="x")
    assert capfd.readouterr() == ("", "")


def test_a_graph_without_an_open_batch_is_refused():
    graph = serialise([helper.make_node("Relu", ["a"], ["b"])], {}, ("b", [2, 3]), ("a", [2, 3]))
    with pytest.raises(BundleError, match="axis 0"):
        OpenVinoNetwork(graph, name="x")


@pytest.mark.parametrize(
    ("feeds", "match"),
    [
        ({}, "wanted an input 'crops'"),
        ({"crops": crops(1).astype(np.float64)}, "wanted float32"),
        ({"crops": crops(1)[:, :2]}, r"\(1, 2, 8, 8\)"),
        ({"crops": crops(0)}, "batches of one size"),
    ],
)
def test_feeds_that_do_not_fit_are_refused(feeds, match):
    with pytest.raises(InferenceError, match=match):
        OpenVinoNetwork(brightness_graph("features", None), name="x").run(feeds)


def test_once_closed_it_says_so():
    network = OpenVinoNetwork(brightness_graph("features", None), name="x")
    network.close()
    network.close()
    with pytest.raises(InferenceError, match="x: is closed"):
        network.run({"crops": crops(1)})


@needs_bf16
def test_float32_stays_float32_unless_bfloat16_is_asked_for():
    wanted = OnnxRuntimeNetwork(convolution(), name="x", optimise=False).run({"crops": crops(4)})["features"]
    apart = {
        bf16: np.abs(
            OpenVinoNetwork(convolution(), name="x", bf16=bf16).run({"crops": crops(4)})["features"] - wanted
        ).max()
        for bf16 in (False, True)
    }
    assert apart[False] < 1e-6
    assert 1e-5 < apart[True] < 2e-2


def test_a_cpu_without_bfloat16_is_told(monkeypatch):
    monkeypatch.setattr(openvino, "capabilities", lambda: frozenset({"FP32", "INT8", "BIN"}))
    with pytest.raises(InvalidInput, match="does not compute in bfloat16; OpenVINO finds FP32, INT8"):
        choose_runtime(RuntimeOptions(precision="bf16"))
    assert precisions_of("openvino") == ("fp32", "fp16", "int8")


@pytest.mark.parametrize("threads", [-1, 0, 99999999999, True])
def test_threads_are_checked(threads):
    with pytest.raises(InvalidInput, match="threads"):
        OpenVinoNetwork(brightness_graph("features", None), name="x", threads=threads)


def test_auto_takes_it_where_it_is_installed():
    assert str(choose_runtime(RuntimeOptions()).choice) == "openvino (auto: it is installed)"
    assert precisions_of("onnxruntime") == ("fp32", "fp16", "int8")


def test_where_it_is_not_installed_auto_takes_onnx_runtime_and_bf16_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    openvino._core.cache_clear()
    assert choose_runtime(RuntimeOptions()).name == "onnxruntime"
    assert precisions_of("openvino") == ()
    with pytest.raises(MissingDependency, match=r"pip install 'deepfake-edge\[openvino\]'"):
        choose_runtime(RuntimeOptions(precision="bf16"))
    with pytest.raises(MissingDependency, match="openvino is not installed"):
        OpenVinoNetwork(brightness_graph("features", None), name="x")


def test_bfloat16_is_not_for_onnx_runtime():
    with pytest.raises(InvalidInput, match="bf16 is computed by openvino alone"):
        RuntimeOptions("onnxruntime", "bf16")


_USE = """
import sys
def see(event, arguments):
    assert not event.startswith("socket."), (event, arguments)
sys.addaudithook(see)
from deepfake_edge.runtimes.openvino import OpenVinoNetwork
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
for kind in (OpenVinoNetwork, OnnxRuntimeNetwork):
    kind(open(sys.argv[1], "rb").read(), name="x").close()
assert not [name for name in sys.modules if name.startswith("openvino_telemetry")]
import openvino_telemetry
"""


def test_no_runtime_calls_home_or_leaves_an_identifier(tmp_path):
    """Both would, left to themselves, when they are imported."""
    graph, home = tmp_path / "graph.onnx", tmp_path / "home"
    graph.write_bytes(brightness_graph("features", None))
    home.mkdir()
    quiet = {"CI", "TF_BUILD", "JENKINS_URL", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "XDG_DATA_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in quiet}
    subprocess.run([sys.executable, "-c", _USE, graph], env={**environment, "HOME": str(home)}, check=True)
    assert list(home.rglob("*")) == []
