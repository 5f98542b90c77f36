"""What must never reach a runtime is seen in the bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from deepfake_edge.errors import BundleError
from deepfake_edge.onnx_wire import check_onnx
from fakes import brightness_graph, mean_head


def model() -> ModelProto:
    return ModelProto.FromString(brightness_graph("features", None))


def refused(changed: ModelProto, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        check_onnx(changed.SerializeToString(), "x.onnx")


@pytest.mark.parametrize("graph", [brightness_graph("features", None), mean_head(5)])
def test_honest_graphs_pass(graph):
    check_onnx(graph, "x.onnx")


def test_external_data_in_an_initializer():
    changed = model()
    changed.graph.initializer[0].data_location = TensorProto.EXTERNAL
    refused(changed, "external data")


def test_external_data_named_without_the_flag():
    changed = model()
    changed.graph.initializer[0].external_data.add(key="location", value="../secret")
    refused(changed, "external data")


def test_external_data_in_a_constant_node():
    changed = model()
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "c")
    tensor.data_location = TensorProto.EXTERNAL
    changed.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    refused(changed, "external data")


def test_external_data_in_a_nested_graph():
    changed, inner = model(), model().graph
    inner.initializer[0].data_location = TensorProto.EXTERNAL
    node = helper.make_node("Identity", ["crops"], ["same"])
    node.attribute.append(helper.make_attribute("body", inner))
    changed.graph.node.append(node)
    refused(changed, "external data")


@pytest.mark.parametrize("many", [False, True])
def test_sparse_tensors_in_an_attribute(many):
    changed = model()
    values = numpy_helper.from_array(np.ones(1, np.float32), "v")
    indices = numpy_helper.from_array(np.zeros(1, np.int64))
    values.data_location = TensorProto.EXTERNAL
    sparse = helper.make_sparse_tensor(values, indices, [3])
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.append(helper.make_attribute("sparse_value", [sparse, sparse] if many else sparse))
    changed.graph.node.append(node)
    refused(changed, "sparse")


def test_a_key_that_parsers_would_cut_to_another_field():
    tensor = b"\x0a\x01\x03" + b"\xf0\x80\x80\x80\x10\x01"  # field 14 with a bit beyond the 32nd
    graph = b"\x2a" + bytes([len(tensor)]) + tensor
    with pytest.raises(BundleError, match="field key"):
        check_onnx(b"\x3a" + bytes([len(graph)]) + graph, "x.onnx")


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan"])
def test_loops_and_branches(operator):
    changed = model()
    changed.graph.node.append(helper.make_node(operator, ["crops"], ["looped"]))
    refused(changed, operator)


def test_a_custom_domain():
    changed = model()
    changed.graph.node.append(helper.make_node("Run", ["crops"], ["x"], domain="com.evil"))
    refused(changed, "com.evil")


def test_functions_of_its_own():
    changed = model()
    changed.functions.append(helper.make_function("", "F", ["a"], ["a"], [], [helper.make_opsetid("", 17)]))
    refused(changed, "functions")


@pytest.mark.parametrize("data", [b"", b"\x00", b"not onnx at all", b"\xff" * 100, b"\x3a\x7f"])
def test_what_is_no_graph(data):
    with pytest.raises(BundleError):
        check_onnx(data, "x.onnx")


@given(st.binary(max_size=300))
def test_any_bytes_end_in_a_pass_or_a_typed_error(data):
    try:
        check_onnx(data, "x.onnx")
    except BundleError:
        return
