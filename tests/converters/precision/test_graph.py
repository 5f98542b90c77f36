"""A graph is prepared without changing what it computes, and the layers that int8 is for are found."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from deepfake_edge.converters.precision.graph import Graph, Layer, prepare, quantisable
from deepfake_edge.errors import ConversionError
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.training import workshop


def operators(graph):
    return Counter(node.op_type for node in Graph.read(graph).nodes)


def same(source, run):
    made = prepare(source)
    check_onnx(made, "prepared")
    assert prepare(made) == made
    exact = run(source)
    assert np.abs(run(made) - exact).max() <= 1e-5 * np.abs(exact).max()
    view = Graph.read(made)
    assert len({node.name for node in view.nodes}) == len(view.nodes)
    assert {name for node in view.nodes for name in node.output} <= set(view.shapes)
    return made


def test_networks_stay_what_they_are(network, run):
    same(network, run)


def test_normalisation_and_factors_are_folded(new_net, run):
    net = new_net()
    net.conv("a", "crops", (4, 3, 3, 3))
    statistics = [net.weight(f"bn.{name}", net.random.uniform(0.5, 2, 4)) for name in ("gain", "bias", "mean", "var")]
    net.add("BatchNormalization", "n", "a", *statistics, epsilon=1e-3)
    net.add("Relu", "r", "n")
    net.add("Conv", "b", "r", net.weight("b.w", net.random.standard_normal((6, 4, 1, 1))))
    net.add("Mul", "m", net.weight("factors", net.random.uniform(0.5, 2, (6, 1, 1))), "b")
    net.add("Sub", "s", "m", net.weight("offset", np.float64(0.25).reshape(())))
    # What a convolution is taken from is not folded.
    net.add("Sub", "t", net.weight("whole", np.float64(1.5).reshape(())), "s")
    net.ending("t", 6)
    made = same(net.bytes(), run)
    assert operators(made) == {"Conv": 2, "Relu": 1, "Sub": 1, "GlobalAveragePool": 1, "Flatten": 1, "MatMul": 1}


def test_a_standing_normalisation_becomes_a_factor_and_a_summand(new_net, run):
    net = new_net()
    net.add("Relu", "r", net.conv("a", "crops", (4, 3, 3, 3)))
    statistics = [net.weight(f"bn.{name}", net.random.uniform(0.5, 2, 4)) for name in ("gain", "bias", "mean", "var")]
    net.add("BatchNormalization", "n", "r", *statistics)
    net.ending(net.conv("b", "n", (4, 4, 3, 3)), 4)
    counted = operators(same(net.bytes(), run))
    assert (counted["BatchNormalization"], counted["Mul"], counted["Add"]) == (0, 1, 1)


def test_what_is_read_twice_or_differs_over_space_is_not_folded(new_net, run):
    net = new_net()
    net.conv("a", "crops", (4, 3, 3, 3))
    net.add("Mul", "m", "a", net.weight("map", net.random.uniform(0.5, 2, (1, 1, 12, 12))))
    net.conv("b", "m", (4, 4, 3, 3))
    net.add("Mul", "n", "b", net.weight("factor", [2.0]))
    net.add("Add", "sum", "n", "b")
    net.ending("sum", 4)
    assert operators(same(net.bytes(), run))["Mul"] == 2


def test_a_division_by_zero_is_left_to_the_network(new_net):
    net = new_net()
    net.add("Div", "d", net.conv("a", "crops", (2, 3, 3, 3)), net.weight("by", np.array([0.0, 2.0]).reshape(2, 1, 1)))
    net.ending("d", 2)
    assert "Div" in [node.op_type for node in Graph.read(prepare(net.bytes())).nodes]


def test_nodes_that_run_in_a_circle_are_refused(new_net):
    net = new_net()
    net.conv("a", "crops", (4, 3, 3, 3))
    net.add("Add", "b", "a", "a")
    net.ending(net.add("Relu", "c", "b"), 4)
    model = workshop.onnx().load_from_string(net.bytes())
    model.graph.node[1].input[1] = "c"
    with pytest.raises(ConversionError, match="cannot be prepared for fp16 or int8"):
        prepare(model.SerializeToString())


def test_zero_padding_and_reshapes_to_the_same_shape_go(new_net, run):
    net = new_net()
    net.add("Pad", "p", "crops", net.weight("pads", np.array([0, 0, 0, 1, 0, 0, 2, 1])))
    net.conv("a", "p", (4, 3, 3, 3), strides=[2, 2], pads=[0, 0, 0, 0])
    net.add("Reshape", "same", "a", net.weight("shape", np.array([-1, 4, 6, 6])))
    net.add("Pad", "q", "same", net.weight("pads2", np.array([0, 0, 1, 1, 0, 0, 1, 1])), net.weight("one", [1.0]))
    net.conv("b", "q", (4, 4, 3, 3), pads=[0, 0, 0, 0])
    net.ending("b", 4)
    # A padding with ones is no convolution's.
    assert operators(same(net.bytes(), run)) == {"Conv": 2, "Pad": 1, "GlobalAveragePool": 1, "Flatten": 1, "MatMul": 1}


def test_an_old_opset_is_brought_up(new_net, run):
    net = new_net()
    net.add("Relu", "r", net.conv("a", "crops", (4, 3, 3, 3)))
    net.ending("r", 4)
    made = same(net.bytes(opset=11), run)
    assert workshop.onnx().load_from_string(made).opset_import[0].version >= 13


@pytest.mark.parametrize(("kind", "dtype", "match"), [
    ("QuantizeLinear", None, "quantised already"),
    ("Cast", "FLOAT16", "float16 already"),
])  # fmt: skip
def test_networks_of_lower_precision_are_refused(new_net, kind, dtype, match):
    net = new_net()
    if dtype is None:
        zero = net.weight("zero", np.array(0, np.int8))
        net.add(
            "DequantizeLinear",
            "back",
            net.add(kind, "q", "crops", net.weight("scale", np.float32(0.1)), zero),
            "scale",
            "zero",
        )
    else:
        types = net.onnx.TensorProto
        net.add("Cast", "back", net.add("Cast", "h", "crops", to=types.FLOAT16), to=types.FLOAT)
    net.ending(net.conv("a", "back", (4, 3, 3, 3)), 4)
    with pytest.raises(ConversionError, match=match):
        prepare(net.bytes())


def test_layers_and_what_they_cost(networks):
    layers = quantisable(prepare(networks("residual")))
    assert [layer.name for layer in layers] == [f"conv_{number}" for number in range(7)]
    assert [layer.depthwise for layer in layers] == [False] * 4 + [True, False, False]
    assert layers[0] == Layer("conv_0", "Conv", False, 12 * 12 * 8 * 3 * 9)
    assert layers[4].multiply_adds == 6 * 6 * 8 * 9


def test_other_products_are_found_and_counted(networks):
    transposed = quantisable(prepare(networks("transposed")))
    assert [layer.kind for layer in transposed] == ["Conv", "ConvTranspose", "Conv"]
    assert transposed[1].multiply_adds == 12 * 12 * 6 * 5 * 4
    tokens = quantisable(prepare(networks("tokens")))
    # Neither the squeeze-and-excitation's convolution nor the last product.
    assert [(layer.kind, layer.multiply_adds) for layer in tokens] == [
        ("Conv", 9 * 8 * 3 * 16),
        ("MatMul", 9 * 8 * 16),
        ("MatMul", 9 * 16 * 8),
    ]
    assert [layer.kind for layer in quantisable(prepare(networks("over_time")))] == ["Conv", "Conv"]
