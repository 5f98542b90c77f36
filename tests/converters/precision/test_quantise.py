"""Int8: the numbers are those of a quantiser written down independently; odd ranges and weights are survived."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from deepfake_edge.converters.precision.graph import Graph, prepare, quantisable
from deepfake_edge.converters.precision.quantise import quantise
from deepfake_edge.converters.precision.ranges import Range
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training import workshop


@pytest.fixture
def quantised(extremes):
    """Quantise a network on the extremes of random crops; all layers unless some are named."""

    def make(source, unsigned=False, layers=None, **ranges):
        graph = prepare(source)
        names = [layer.name for layer in quantisable(graph)] if layers is None else layers
        return quantise(graph, extremes(graph) | ranges, names, unsigned=unsigned)

    return make


def fake(values, largest):
    """Quantise to -128..127 and back, one scale for all."""
    scale = np.float32(largest / 127)
    return np.clip(np.rint(values / scale), -128, 127).astype(np.float32) * scale


def fake_weights(values):
    scale = (np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127).astype(np.float32)
    return np.rint(values / scale).astype(np.float32) * scale


def convolved(values, weights, bias):
    """Padded so that the size stays."""
    side = weights.shape[2]
    padded = np.pad(values, ((0, 0), (0, 0), (side // 2,) * 2, (side // 2,) * 2))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", patches, weights) + bias[:, None, None]


def test_the_numbers_are_those_of_fake_quantisation(new_net, run, run_openvino, quantised, extremes):
    net = new_net()
    net.add("Relu", "r", net.conv("a", "crops", (4, 3, 3, 3)))
    net.conv("b", "r", (4, 4, 1, 1))
    net.add("Add", "sum", "r", "b")
    net.conv("c", "sum", (5, 4, 3, 3))
    net.add("GlobalAveragePool", "outputs", "c")
    source = prepare(net.bytes(rank=4))
    ranges, view = extremes(source), Graph.read(source)
    largest = {name: max(-item.low, item.high) for name, item in ranges.items()}
    weights = {
        node.name: [view.constant(name) for name in node.input[1:]] for node in view.nodes if "Conv" in node.op_type
    }
    crops = np.random.default_rng(5).uniform(-1.2, 1.2, (4, 3, 12, 12)).astype(np.float32)

    def layer(name, values, source):
        kernel, bias = weights[name]
        return convolved(fake(values, largest[source]), fake_weights(kernel), bias)

    first = np.maximum(layer("conv_0", crops, "crops"), 0)
    # The shortcut is quantised, the convolution that feeds the sum alone is not.
    joined = layer("conv_1", first, "relu_0") + fake(first, largest["relu_0"])
    expected = layer("conv_2", joined, "add_0").mean(axis=(2, 3), keepdims=True)
    made = quantised(net.bytes(rank=4))
    # A value on the edge between two steps may fall on either side.
    step = largest["add_0"] / 127
    assert np.abs(run(made, crops) - expected).mean() <= 1e-2 * step
    assert np.abs(run_openvino(made, crops) - expected).mean() <= 1e-2 * step
    assert np.abs(run(source, crops) - expected).mean() >= 0.1 * step


def test_max_pooling_and_concatenation_are_passed_through_in_int8(networks, quantised):
    view = Graph.read(quantised(networks("concat")))
    read = {node.op_type: [view.producers.get(name) for name in node.input] for node in view.nodes}
    assert {maker.op_type for maker in (*read["MaxPool"], *read["Concat"])} == {"DequantizeLinear"}
    scales = {maker.input[1] for maker in (*read["MaxPool"], *read["Concat"])}
    assert len(scales) == 1, "what is only moved keeps its scale"


def test_one_pair_for_all_readers_of_a_value(networks, quantised):
    view = Graph.read(quantised(networks("residual")))
    pairs = Counter(node.input[0] for node in view.nodes if node.op_type == "QuantizeLinear")
    assert set(pairs.values()) == {1}


def test_a_value_or_channel_that_is_always_zero(new_net, run, quantised):
    for unsigned in (False, True):
        net = new_net()
        net.conv("a", "crops", (4, 3, 3, 3))
        net.weights[-2].CopyFrom(net.onnx.numpy_helper.from_array(np.zeros((4, 3, 3, 3), np.float32), "a.w"))
        net.weights[-1].CopyFrom(net.onnx.numpy_helper.from_array(np.full(4, -1, np.float32), "a.b"))
        net.conv("b", net.add("Relu", "r", "a"), (4, 4, 3, 3))
        net.ending("b", 4)
        made = quantised(net.bytes(), unsigned=unsigned)
        assert np.abs(run(made) - run(net.bytes())).max() < 1e-3


def test_a_bias_far_beyond_its_channel_keeps_its_value(new_net, run, quantised):
    net = new_net()
    net.conv("a", "crops", (4, 3, 3, 3))
    nearly = net.random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    nearly[0] *= 1e-12
    net.weights[-2].CopyFrom(net.onnx.numpy_helper.from_array(nearly, "a.w"))
    net.weights[-1].CopyFrom(net.onnx.numpy_helper.from_array(np.full(4, 0.75, np.float32), "a.b"))
    net.add("GlobalAveragePool", "outputs", "a")
    for optimise in (False, True):
        given = run(quantised(net.bytes(rank=4), unsigned=True), optimise=optimise)
        assert np.abs(given[:, 0] - 0.75).max() < 0.05


def test_unsigned_values_after_a_relu_begin_at_zero(networks, quantised):
    view = Graph.read(quantised(networks("residual"), unsigned=True))
    found = {}
    for node in view.nodes:
        if node.op_type == "QuantizeLinear":
            zero = view.constant(node.input[2])
            assert zero.dtype == np.uint8
            found[view.producers[node.input[0]].op_type if node.input[0] != "crops" else "crops"] = int(zero)
    assert found["Relu"] == 0
    assert 100 < found["crops"] < 155


def test_onnx_runtime_computes_every_convolution_of_the_unsigned_form_in_int8(networks, quantised, tmp_path):
    ort = pytest.importorskip("onnxruntime")
    for name in ("plain", "residual", "pooled_residual", "concat"):
        made = quantised(networks(name), unsigned=True)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(tmp_path / f"{name}.onnx")
        ort.InferenceSession(made, options, providers=["CPUExecutionProvider"])
        graph = workshop.onnx().load(options.optimized_model_filepath).graph
        counted = Counter(node.op_type for node in graph.node)
        wanted = sum(node.op_type == "Conv" for node in Graph.read(made).nodes)
        assert (counted["QLinearConv"], counted["Conv"], counted["FusedConv"]) == (wanted, 0, 0), name
        assert not counted["Relu"], name


def test_strided_pointwise_convolutions_compute_the_same(networks, run, quantised):
    """Every second value is read before the convolution: exactly what its stride did."""
    made = quantised(networks("residual"), layers=["conv_1", "conv_3"])
    view = Graph.read(made)
    (taken,) = [node for node in view.nodes if node.op_type == "MaxPool"]
    assert [maker.op_type for maker in (view.producers[taken.input[0]], *view.readers[taken.output[0]])] == [
        "DequantizeLinear",
        "QuantizeLinear",
    ]
    exact = run(networks("residual"))
    assert 0 < np.abs(run(made) - exact).mean() < 0.02 * np.ptp(exact)


def test_the_same_again_gives_the_same_bytes(networks, quantised):
    assert quantised(networks("residual")) == quantised(networks("residual"))


@pytest.mark.parametrize("unsigned", [False, True])
def test_layers_that_share_weights_still_do(new_net, run, quantised, unsigned):
    """As those of each frame in a fused clip network."""
    net = new_net()
    net.conv("a", "crops", (3, 3, 3, 3))
    net.add("Conv", "again", "a", "a.w", "a.b", pads=[1, 1, 1, 1])
    source = net.ending("again", 3) and net.bytes()
    made = quantised(source, unsigned=unsigned)
    weights = [item for item in Graph.read(made).initializers.values() if list(item.dims) == [3, 3, 3, 3]]
    assert [item.data_type for item in weights] == [workshop.onnx().TensorProto.INT8]
    exact = run(source)
    assert np.abs(run(made) - exact).mean() < 0.03 * np.ptp(exact)


@pytest.mark.parametrize("layers", [[], ["conv_0"]])
def test_only_named_layers_are_quantised(networks, quantised, run, layers):
    made = quantised(networks("plain"), layers=layers)
    assert sum(node.op_type == "QuantizeLinear" for node in Graph.read(made).nodes) == len(layers)
    assert np.array_equal(run(made), run(prepare(networks("plain")))) == (not layers)


def test_what_cannot_be_quantised_is_refused(networks, quantised):
    with pytest.raises(InvalidInput, match="layers: wanted layers with weights, got relu_0"):
        quantised(networks("plain"), layers=["relu_0"])
    with pytest.raises(InvalidInput, match=r"the range of crops is not finite: -inf\.\.1"):
        quantised(networks("plain"), crops=Range(float("-inf"), 1.0))
    with pytest.raises(InvalidInput, match="the range of crops, relu_0 is missing"):
        quantise(prepare(networks("plain")), {}, ["conv_0", "conv_1"])
