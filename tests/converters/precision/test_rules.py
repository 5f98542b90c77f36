"""TensorRT's rules of explicit quantisation, looked up in the graph itself, for every shape and family."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.exporting.export import export
from deepfake_edge.converters.precision.graph import Graph, attribute, prepare, quantisable
from deepfake_edge.converters.precision.quantise import quantise
from deepfake_edge.model import normalise
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.training import workshop
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.families import FAMILIES
from deepfake_edge.training.untrained import seed_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SMALL = {
    "xception-lstm": {"frames": 3, "size_px": 71, "units": 5},
    "resnet-lstm": {"frames": 3, "size_px": 32, "units": 5},
    "xception-conv-rnn": {"frames": 3, "size_px": 71, "units": 5, "rnn": "bigru", "frame_scores": 1},
    "cnn-lstm": {"frames": 6, "size_px": 24, "units": 5},
    "resnext50-lstm": {"frames": 3, "size_px": 32, "units": 5},
    "cnn": {"size_px": 32, "filters": 4},
    "mobile-gru": {"frames": 3, "size_px": 32, "units": 5},
    "meso4": {"size_px": 32},
    "mesoinception4": {"size_px": 32},
}
DEEP = ("xception-lstm", "resnet-lstm", "xception-conv-rnn", "resnext50-lstm")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in SMALL])
def backbone(request, keras):
    """A family's backbone with seeded weights, and crops that it answers to."""
    family, sizes = FAMILIES[request.param], SMALL[request.param]
    spec = family.spec
    spec = replace(
        spec,
        crop=replace(spec.crop, size_px=sizes["size_px"]),
        clip=replace(spec.clip, frames=sizes.get("frames", 1)),
    )
    model, crops = family.build(**sizes), make_crops(spec.crop, spec.clip, None)
    seed_weights(model, spec, crops=crops)
    return export(cut(model, None, None)).backbone, normalise(crops.crops, spec.crop)


def test_every_family_is_tested():
    assert set(SMALL) == set(FAMILIES)


def test_rules_for_networks(network, extremes, run, run_openvino):
    hold(network, None, extremes, run, run_openvino)


def test_rules_for_families(backbone, extremes, run, run_openvino):
    # Dozens of layers that nobody trained pass every error on.
    hold(*backbone, extremes, run, run_openvino, allowed=0.1)


@pytest.mark.parametrize("left_out", ["conv_1", "conv_2", "conv_4"])
def test_rules_with_a_layer_left_out(networks, extremes, left_out):
    graph = prepare(networks("residual"))
    layers = [layer.name for layer in quantisable(graph) if layer.name != left_out]
    check_rules(graph, quantise(graph, extremes(graph), layers), layers)


def hold(source, crops, extremes, run, run_openvino, allowed=0.05):
    """Assert that both forms are quantised as they should be, and differ from the source by no more than that."""
    graph = prepare(source)
    ranges, layers = extremes(graph, crops), [layer.name for layer in quantisable(graph)]
    assert layers
    symmetric, unsigned = (quantise(graph, ranges, layers, unsigned=unsigned) for unsigned in (False, True))
    check_rules(graph, symmetric, layers)
    exact = run(source, crops)
    allowed *= np.ptp(exact)
    for made, optimise in ((symmetric, False), (symmetric, True), (unsigned, False), (unsigned, True)):
        check_onnx(made, "int8")
        given = run(made, crops, optimise=optimise)
        assert not np.array_equal(given, exact)
        assert np.abs(given - exact).mean() <= allowed, (made is unsigned, optimise)
    assert np.abs(run_openvino(symmetric, crops) - exact).mean() <= allowed


def check_rules(source, made, layers):
    """Assert every rule of the symmetric form."""
    before, after = Graph.read(source), Graph.read(made)
    workshop.onnx().checker.check_model(after.model, full_check=True)
    pairs = [node for node in after.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in pairs:
        scale, zero = after.constant(node.input[1]), after.constant(node.input[2])
        assert zero.dtype == np.int8
        assert not zero.any()
        assert scale.dtype == np.float32
        assert (scale >= np.finfo(np.float32).tiny).all()
        assert np.isfinite(scale).all()
        assert zero.shape == scale.shape
    for node in after.nodes:
        if node.op_type == "QuantizeLinear":
            (reader,) = after.readers[node.output[0]]
            assert reader.op_type == "DequantizeLinear"
            assert list(reader.input[1:]) == list(node.input[1:])
            assert after.constant(node.input[1]).shape == ()
            assert node.input[0] not in after.initializers
    dequantized = {node.output[0]: node for node in after.nodes if node.op_type == "DequantizeLinear"}
    by_name = {node.name: node for node in after.nodes}
    for node in before.nodes:
        check_layer(before, after, node, by_name[node.name], dequantized, node.name in layers)
    assert len({(node.input[0], *node.input[1:]) for node in pairs}) == len(pairs)
    assert [port.type for port in after.model.graph.input] == [port.type for port in before.model.graph.input]
    kinds = {port.type.tensor_type.elem_type for port in after.model.graph.output}
    assert kinds == {workshop.onnx().TensorProto.FLOAT}


def check_layer(before, after, old, new, dequantized, in_int8):
    if old.op_type in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
        assert (new.input[0] in dequantized) == in_int8
        assert (new.input[1] in dequantized) == in_int8
        assert list(new.input[2:]) == list(old.input[2:]), "a bias is quantised"
    if in_int8:
        weights = dequantized[new.input[1]]
        stored, scales = after.constant(weights.input[0]), after.constant(weights.input[1])
        axis = {"Conv": 0, "ConvTranspose": 1, "MatMul": 1}.get(old.op_type, 1 - attribute(old, "transB", 0))
        exact = before.constant(old.input[1])
        assert stored.dtype == np.int8
        assert stored.min() >= -127
        assert attribute(weights, "axis", 1) == axis
        assert scales.shape == (exact.shape[axis],)
        shape = [-1 if number == axis else 1 for number in range(exact.ndim)]
        assert (np.abs(stored * scales.reshape(shape) - exact) <= 0.5001 * scales.reshape(shape)).all()
    if old.op_type == "Add" and not set(old.input) & set(before.initializers):
        makers = [before.producers.get(name) for name in old.input]
        # A layer in int8 has its weights behind a DequantizeLinear.
        convs = [
            place
            for place, maker in enumerate(makers)
            if maker is not None and maker.op_type == "Conv" and len(before.readers[old.input[place]]) == 1
            and after.producers[old.input[place]].input[1] in dequantized
        ]  # fmt: skip
        free = [place for place in range(2) if new.input[place] not in dequantized]
        if convs:
            assert len(free) == 1, "one branch of a residual Add is free, and no other"
            assert free[0] in convs
        else:
            assert len(free) == 2
