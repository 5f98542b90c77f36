"""fp16: typed from end to end, with no cast that need not be, and rounded where it is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.converters.precision.graph import Graph, prepare
from deepfake_edge.converters.precision.typed import float16_nodes, overflowing, rounding, to_fp16
from deepfake_edge.errors import InvalidInput
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.training import workshop


def casts(graph):
    return [node.name for node in Graph.read(graph).nodes if node.op_type == "Cast"]


def test_every_network_is_typed_and_close(network, run, run_openvino):
    source = prepare(network)
    made = to_fp16(source)
    check_onnx(made, "fp16")
    onnx = workshop.onnx()
    model = onnx.load_from_string(made)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, strict_mode=True, check_type=True, data_prop=True)
    ports = [*model.graph.input, *model.graph.output]
    assert {port.type.tensor_type.elem_type for port in ports} == {onnx.TensorProto.FLOAT}
    assert set(float16_nodes(made)) >= {node.name for node in model.graph.node if node.op_type == "Conv"} - {"conv_1"}
    weights = [item for item in model.graph.initializer if item.name.endswith("weight/float16")]
    assert weights
    assert {item.data_type for item in weights} == {onnx.TensorProto.FLOAT16}
    exact = run(source)
    for given in (run(made), run(made, optimise=True), run_openvino(made), run(rounding(made))):
        assert given.dtype == np.float32
        assert 0 < np.abs(given - exact).max() <= 4e-3 * np.abs(exact).max()


def test_pooling_and_what_follows_stay_in_float32(networks):
    source = prepare(networks("residual"))
    made = to_fp16(source)
    half = float16_nodes(made)
    assert set(half) == {node.name for node in Graph.read(source).nodes} - {
        "globalaveragepool_0",
        "flatten_0",
        "matmul_0",
    }
    assert len(casts(made)) == 2


def test_islands_have_one_cast_at_each_border(networks):
    source = prepare(networks("residual"))
    # conv_1, relu_1, conv_2: the ReLU between two that are kept stays with them.
    made = to_fp16(source, keep=["conv_1", "conv_2"])
    assert not {"conv_1", "relu_1", "conv_2"} & set(float16_nodes(made))
    assert len(casts(made)) == 4
    assert not [node for node in Graph.read(made).nodes if node.op_type == "Cast" and follows_a_cast(made, node)]


def follows_a_cast(graph, node):
    maker = Graph.read(graph).producers.get(node.input[0])
    return maker is not None and maker.op_type == "Cast"


def test_everything_kept_is_the_source(networks, run):
    source = prepare(networks("residual"))
    made = to_fp16(source, keep=[node.name for node in Graph.read(source).nodes])
    assert not casts(made)
    assert not float16_nodes(made)
    assert np.array_equal(run(made), run(source))


def test_a_node_that_is_not_there_is_refused(networks):
    with pytest.raises(InvalidInput, match="keep: wanted names of nodes, got conv_77"):
        to_fp16(prepare(networks("plain")), keep=["conv_77"])


@pytest.mark.parametrize("factor", [1e6, 1e-7])
def test_weights_beyond_float16_stay_in_float32(new_net, run, factor):
    net = new_net()
    net.conv("a", "crops", (4, 3, 3, 3))
    net.weight("huge", net.random.standard_normal((4, 4, 1, 1)) * factor)
    net.add("Conv", "b", "a", "huge")
    net.ending(net.add("Mul", "back", "b", net.weight("inverse", np.float64(1 / factor).reshape(()))), 4)
    # What is read twice is not folded.
    net.add("Relu", "unused", "b")
    source = prepare(net.bytes())
    exact, given = run(source), run(rounding(to_fp16(source)))
    assert np.isfinite(given).all()
    assert np.abs(given - exact).max() <= 4e-3 * np.abs(exact).max()


def test_a_tiny_summand_is_not_lost(new_net):
    net = new_net()
    net.conv("a", "crops", (4, 3, 3, 3))
    net.add("Div", "ratio", "a", net.add("Add", "safe", net.add("Abs", "size", "a"), net.weight("epsilon", [1e-9])))
    net.conv("b", "ratio", (4, 4, 3, 3))
    net.ending("b", 4)
    made = to_fp16(prepare(net.bytes()))
    assert "add_0" not in float16_nodes(made)
    assert {"conv_0", "conv_1", "div_0"} <= set(float16_nodes(made))


def test_two_outputs_one_of_which_goes_on(new_net, run):
    """A value that leaves in float32 and is read on in float16 is cast once."""
    net = new_net()
    net.add("Relu", "r", net.conv("a", "crops", (4, 3, 3, 3)))
    net.conv("b", "r", (4, 4, 3, 3))
    net.add("GlobalAveragePool", "outputs", "b")
    onnx = workshop.onnx()
    model = onnx.load_from_string(net.bytes(rank=4))
    model.graph.output.append(onnx.helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, [None, 4, 12, 12]))
    source = prepare(model.SerializeToString())
    made = to_fp16(source)
    assert len(casts(made)) == 3
    assert np.abs(run(made) - run(source)).max() < 1e-2


def test_overflow_is_seen_and_kept_out(new_net, run, extremes):
    """Activations of 2e5 between two layers whose weights are ordinary: infinite in float16, unless kept."""
    net = new_net()
    net.add("Relu", "r", net.conv("a", "crops", (4, 3, 3, 3)))
    net.add("Conv", "b", "r", net.weight("large", np.full((4, 4, 1, 1), 3e4)))
    net.add("Conv", "c", "b", net.weight("small", np.full((4, 4, 1, 1), 1e-3)))
    net.ending("c", 4)
    source = prepare(net.bytes())
    largest = {name: max(-item.low, item.high) for name, item in extremes(source).items()}
    assert largest["conv_1"] > 65504
    kept = overflowing(largest, source)
    assert kept == ("conv_1", "conv_2")
    exact = run(source)
    assert not np.isfinite(run(rounding(to_fp16(source)))).all()
    assert np.abs(run(rounding(to_fp16(source, keep=kept))) - exact).max() <= 4e-3 * np.abs(exact).max()
    assert overflowing({"conv_1": float("nan")}, source) == ("conv_1", "conv_2")
    assert overflowing({"conv_1": 30_000.0}, source) == ()


def test_onnx_runtime_rounds_between_layers_only_where_it_is_made_to(new_net, run):
    """1 + 2**-12 is 1 in float16: what is left of it after 1 is taken away tells whether it was rounded."""
    net = new_net()
    one = net.weight("one", np.ones((1, 1, 1, 1)))
    net.add("Conv", "a", "crops", one, net.weight("a.b", [2.0**-12]))
    net.add("Conv", "b", "a", one, net.weight("b.b", [-1.0]))
    net.add("GlobalAveragePool", "outputs", "b")
    made = to_fp16(prepare(net.bytes(shape=(None, 1, 2, 2), rank=4)))
    crops = np.ones((1, 1, 2, 2), np.float32)
    assert run(rounding(made), crops).item() == 0
    assert run(made, crops).item() in (0, 2.0**-12)
