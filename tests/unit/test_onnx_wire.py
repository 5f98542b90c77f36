"""What must never reach a runtime is seen in the bytes."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, defs, helper, numpy_helper

from deepfake_edge.errors import BundleError
from deepfake_edge.onnx_wire import MAX_NODES, OPERATORS, check_onnx
from fakes import brightness_graph, mean_head


def model() -> ModelProto:
    return ModelProto.FromString(brightness_graph("features", None))


def refused(changed: ModelProto, match: str) -> None:
    with pytest.raises(BundleError, match=match):
        check_onnx(changed.SerializeToString(), "x.onnx")


@pytest.mark.parametrize("graph", [brightness_graph("features", None), mean_head(5)])
def test_honest_graphs_pass(graph):
    counts = check_onnx(graph, "x.onnx")
    assert counts["Flatten"] == counts["MatMul"] == 1
    assert counts == dict(Counter(sorted(node.op_type for node in ModelProto.FromString(graph).graph.node)))


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


def test_a_graph_within_the_graph():
    changed, inner = model(), model().graph
    node = helper.make_node("Identity", ["crops"], ["same"])
    node.attribute.append(helper.make_attribute("body", inner))
    changed.graph.node.append(node)
    refused(changed, "a graph within its graph")


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


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.preview.training"])
def test_an_import_of_a_custom_domain(domain):
    changed = model()
    changed.opset_import.append(helper.make_opsetid(domain, 1))
    refused(changed, domain)


def test_the_second_domain_may_be_imported_but_not_used():
    changed = model()
    changed.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    check_onnx(changed.SerializeToString(), "x.onnx")
    changed.graph.node.append(helper.make_node("Scaler", ["crops"], ["x"], domain="ai.onnx.ml"))
    refused(changed, "ai.onnx.ml")


def test_every_allowed_operator_is_one_of_the_standard():
    assert {schema.name for schema in defs.get_all_schemas() if schema.domain == ""} >= OPERATORS


@pytest.mark.parametrize("operator", ["", "Quux", "RandomNormal", "SequenceAt", "StringNormalizer", "Adam"])
def test_operators_that_no_trained_network_has(operator):
    changed = model()
    changed.graph.node.append(helper.make_node(operator, ["crops"], ["x"]))
    refused(changed, f"holds the operator '{operator}'")


def test_a_node_of_two_operators():
    data = model().SerializeToString()
    changed = data.replace(b"\x22\x06MatMul", b"\x22\x03Exp\x22\x01N", 1)
    assert changed != data
    with pytest.raises(BundleError, match="two operators"):
        check_onnx(changed, "x.onnx")


def test_training_steps_of_its_own():
    changed = model()
    changed.training_info.add()
    refused(changed, "training steps")


def test_too_many_nodes():
    changed = model()
    changed.graph.node.extend([helper.make_node("Relu", ["crops"], ["x"])] * (MAX_NODES + 1))
    refused(changed, "more than 20000 nodes")


def test_too_many_tensors():
    changed = model()
    changed.graph.initializer.extend([numpy_helper.from_array(np.zeros(1, np.float32), "x")] * 20_001)
    refused(changed, "more than 20000 tensors")


KINDS = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (2, 1, 40)])
def test_tensors_whose_shape_is_that_of_their_data(kind, raw, shape):
    values = np.arange(-7, 200).astype(kind).ravel()[: int(np.prod(shape))].reshape(shape)
    stored = helper.np_dtype_to_tensor_dtype(values.dtype)
    content = values.tobytes() if raw else values.ravel().tolist()
    tensor = helper.make_tensor("t", stored, shape, content, raw=raw)
    changed = model()
    changed.graph.initializer.append(tensor)
    check_onnx(changed.SerializeToString(), "x.onnx")
    changed.graph.initializer[-1].dims.append(7)
    refused(changed, "tensor 't' is declared as") if 0 not in shape else None


@pytest.mark.parametrize("dims", [[1 << 31], [1 << 40, 1 << 40], [-1], [1] * 9, [4], [2]])
def test_tensors_whose_shape_is_not_that_of_their_data(dims):
    changed = model()
    tensor = changed.graph.initializer.add(name="t", data_type=TensorProto.FLOAT, raw_data=bytes(12))
    tensor.dims.extend(dims)
    refused(changed, "tensor 't'")


def test_tensors_that_store_something_else_than_they_say():
    for kind, field, values in (
        (TensorProto.FLOAT, "int64_data", [1]),
        (TensorProto.INT64, "float_data", [1.0]),
        (TensorProto.DOUBLE, "raw_data", bytes(4)),
        (TensorProto.STRING, "string_data", [b"s"]),
        (TensorProto.UNDEFINED, "raw_data", bytes(4)),
        (TensorProto.COMPLEX64, "raw_data", bytes(8)),
        (99, "raw_data", bytes(1)),
    ):
        changed = model()
        tensor = changed.graph.initializer.add(name="t", dims=[1], data_type=kind)
        setattr(tensor, field, values) if field == "raw_data" else getattr(tensor, field).extend(values)
        refused(changed, "tensor 't'")


def test_one_tensor_stored_twice():
    changed = model()
    tensor = changed.graph.initializer.add(name="t", dims=[1], data_type=TensorProto.FLOAT, raw_data=bytes(4))
    tensor.float_data.append(1.0)
    refused(changed, "tensor 't'")


def test_two_tensors_in_one_attribute():
    changed = model()
    tensors = [numpy_helper.from_array(np.zeros(1, np.float32))] * 2
    node = helper.make_node("Constant", [], ["c"])
    node.attribute.append(helper.make_attribute("value", tensors))
    changed.graph.node.append(node)
    refused(changed, "holds 2 tensors")


@pytest.mark.parametrize("constant", [True, False])
@pytest.mark.parametrize(
    ("operator", "place", "values"),
    [
        ("ConstantOfShape", 0, [100_000, 100_000]),
        ("Expand", 1, [1 << 40]),
        ("Tile", 1, [1, 1 << 20, 1 << 20]),
        ("Pad", 1, [0, 0, 1 << 30, 0, 0, 0, 0, 0]),
        ("Range", 1, [1 << 33]),
        ("OneHot", 1, [1 << 33]),
    ],
)
def test_small_tensors_that_ask_for_huge_ones(operator, place, values, constant):
    changed = model()
    tensor = numpy_helper.from_array(np.array(values, np.int64), "size")
    if constant:
        changed.graph.node.append(helper.make_node("Constant", [], ["size"], value=tensor))
    else:
        changed.graph.initializer.append(tensor)
    taken = ["crops", "crops", "crops"]
    taken[place] = "size"
    changed.graph.node.append(helper.make_node(operator, taken, ["x"]))
    refused(changed, f"{operator} asks for")


def test_numbers_in_a_constant_that_ask_for_huge_ones():
    changed = model()
    changed.graph.node.append(helper.make_node("Constant", [], ["size"], value_ints=[100_000, 100_000]))
    changed.graph.node.append(helper.make_node("Expand", ["crops", "size"], ["x"]))
    refused(changed, "Expand asks for")


def test_an_ordinary_padding():
    changed = model()
    changed.graph.initializer.append(numpy_helper.from_array(np.array([0, 0, 300, 300] * 2), "pads"))
    changed.graph.node.append(helper.make_node("Pad", ["crops", "pads"], ["x"]))
    check_onnx(changed.SerializeToString(), "x.onnx")


def test_layers_that_reach_too_far():
    changed = model()
    changed.graph.node.append(helper.make_node("MaxPool", ["crops"], ["x"], pads=[0, 0, 1 << 20, 0]))
    refused(changed, "attribute 'pads'")


def test_a_large_file_is_looked_through_at_once():
    changed = model()
    changed.graph.initializer.append(numpy_helper.from_array(np.ones((20, 1000, 1000), np.float32), "weights"))
    data = changed.SerializeToString()
    start = time.perf_counter()
    check_onnx(data, "x.onnx")
    assert time.perf_counter() - start < 0.2


def part(number: int, *contents: bytes) -> bytes:
    """A field of bytes in protobuf's wire format; at most 256 MiB."""
    content = b"".join(contents)
    size = len(content)
    return bytes([number << 3 | 2, *(size >> bits & 127 | 128 for bits in (0, 7, 14)), size >> 21]) + content


MANY = b"\x01" * 2**20
LONG = {
    "axes": part(7, part(5, part(1, MANY), b"\x10\x01")),
    "numbers": part(7, part(1, part(4, b"Relu"), part(5, part(1, b"axes"), part(8, MANY)))),
    "fields": b"\x08\x07" * 2_000_001,
    "fields ": part(7, part(12, b"\x0a\x00" * 2_000_001)),
    "bytes": b"".join(part(6, bytes(2**20)) for _ in range(17)) + part(7, part(11, b"")),
}


@pytest.mark.parametrize("what", LONG)
def test_what_would_take_a_parser_long_or_much_memory(what):
    start = time.perf_counter()
    with pytest.raises(BundleError, match=rf"more than \d+ {what.strip()}"):
        check_onnx(LONG[what], "x.onnx")
    assert time.perf_counter() - start < 5


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
