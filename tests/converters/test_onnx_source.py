"""ONNX models that someone else exported: understood or refused with every reason, and the same after conversion."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.converters.onnx_models.file import Described, describe, reference
from deepfake_edge.converters.onnx_models.rewrite import rewrite
from deepfake_edge.converters.parity import compare
from deepfake_edge.errors import ConversionError
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.face_crops import CropSet

SIDE, FRAMES, BATCH = 32, 5, 4
ENDS = {"softmax": 2, "sigmoid": 1, "logits": 2}


class Draft:
    """A graph in the making: nodes with seeded weights of their own, one after another."""

    def __init__(self, seed: int = 1) -> None:
        self.dice = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, *shape: int) -> str:
        scale = 1.6 / np.sqrt(max(np.prod(shape[1:]), 1)) if len(shape) > 1 else 0.1
        return self.constant((self.dice.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, values: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, *taken: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(taken), names, **attributes))
        return names[0]

    def conv(self, taken: str, inputs: int, outputs: int, kernel: tuple[int, ...]) -> str:
        pads = [size // 2 for size in kernel] * 2
        strides = [1] * (len(kernel) - 2) + [2, 2]
        weight = self.weight(outputs, inputs, *kernel)
        return self.node("Relu", self.node("Conv", taken, weight, self.weight(outputs), pads=pads, strides=strides))

    def cnn(self, taken: str) -> str:
        """(N, 3, S, S) -> (N, 12)."""
        values = self.conv(self.conv(taken, 3, 8, (3, 3)), 8, 12, (3, 3))
        return self.node("Flatten", self.node("GlobalAveragePool", values), axis=1)

    def ending(self, features: str, size: int, kind: str) -> str:
        weight = self.dice.standard_normal((size, ENDS[kind])).astype(np.float32)
        # What all features share would drown what tells items apart.
        values = self.node("Gemm", features, self.constant(weight - weight.mean(axis=0)), self.weight(ENDS[kind]))
        if kind == "softmax":
            return self.node("Softmax", values, axis=-1)
        return self.node("Sigmoid", values) if kind == "sigmoid" else values

    def model(self, output: str, taken: tuple[Any, ...], given: tuple[Any, ...] = ("batch", None)) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "theirs",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, taken)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, given)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="theirs")
        model.ir_version = 8
        return bytes(model.SerializeToString())


def per_frame(end: str, axes: str = "NCHW", batch: Any = "batch") -> bytes:
    draft = Draft()
    crops = "images" if axes == "NCHW" else draft.node("Transpose", "images", perm=[0, 3, 1, 2])
    output = draft.ending(draft.cnn(crops), 12, end)
    return draft.model(output, (batch, 3, SIDE, SIDE) if axes == "NCHW" else (batch, SIDE, SIDE, 3), (batch, ENDS[end]))


def nailed(batch: int = 1) -> bytes:
    """A per-frame model whose reshapes name the batch that it was exported with."""
    draft = Draft()
    values = draft.conv(draft.conv("images", 3, 8, (3, 3)), 8, 12, (3, 3))
    flat = draft.node("Reshape", values, draft.constant(np.array([batch, 12 * 64])))
    halves = draft.node("Reshape", flat, draft.constant(np.array([batch, 12, -1])))
    pooled = draft.node("ReduceMean", halves, axes=[2], keepdims=0)
    return draft.model(draft.ending(pooled, 12, "softmax"), (batch, 3, SIDE, SIDE), (batch, 2))


def recurrent(batch: Any = "batch", states: bool = False) -> bytes:
    """(B, T, 3, S, S) -> CNN -> LSTM operator -> softmax, as exporters write it."""
    draft = Draft()
    count = -1 if batch == "batch" else FRAMES
    frames = draft.node("Reshape", "images", draft.constant(np.array([count, 3, SIDE, SIDE])))
    ahead = -1 if batch == "batch" else 1
    sequence = draft.node("Reshape", draft.cnn(frames), draft.constant(np.array([ahead, FRAMES, 12])))
    timed = draft.node("Transpose", sequence, perm=[1, 0, 2])
    zeros = [draft.constant(np.zeros((1, 1, 6), np.float32)) for _ in range(2)] if states else []
    more = [draft.weight(1, 24, 12), draft.weight(1, 24, 6), draft.weight(1, 48), *(["", *zeros] if states else [])]
    draft.node("LSTM", timed, *more, outputs=3, hidden_size=6)
    # Only the last state is read, so the first output is left out.
    last = draft.nodes[-1]
    del last.output[:]
    last.output.extend(["", "state", ""])
    hidden = draft.node("Squeeze", "state", draft.constant(np.array([0])))
    return draft.model(draft.ending(hidden, 6, "softmax"), (batch, FRAMES, 3, SIDE, SIDE), (batch, 2))


def volumetric(axes: str = "NCTHW") -> bytes:
    draft = Draft()
    order = {"NCTHW": None, "NTHWC": [0, 4, 1, 2, 3], "NTCHW": [0, 2, 1, 3, 4]}[axes]
    clip = "images" if order is None else draft.node("Transpose", "images", perm=order)
    values = draft.conv(draft.conv(clip, 3, 8, (3, 3, 3)), 8, 12, (3, 3, 3))
    pooled = draft.node("Flatten", draft.node("GlobalAveragePool", values), axis=1)
    sizes = {"N": "batch", "C": 3, "T": FRAMES, "H": SIDE, "W": SIDE}
    return draft.model(draft.ending(pooled, 12, "logits"), tuple(sizes[axis] for axis in axes), ("batch", 2))


def noise(described: Described, count: int = BATCH) -> Any:
    shape = (count, *described.layout.plain)
    brightness = np.linspace(-1.5, 1.5, count).reshape(-1, *[1] * (len(shape) - 1))
    return (np.random.default_rng(3).standard_normal(shape) + brightness).astype(np.float32)


def by_source(data: bytes, described: Described, items: Any) -> Any:
    """The model itself, one item at a time, its logits finished here."""
    network = OnnxRuntimeNetwork(data, name="theirs", optimise=False)
    axes, repeat = described.layout.order, described.layout.batch or 1
    rows = []
    for item in items:
        (given,) = network.run({"images": np.repeat(item[None], repeat, 0).transpose(axes).copy()}).values()
        rows.append(given.reshape(repeat, -1)[0])
    values = np.stack(rows).astype(np.float64)
    if not described.logits:
        return values
    if values.shape[1] == 1:
        return 1 / (1 + np.exp(-values))
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def converted(data: bytes, given: Mapping[str, Any], count: int = BATCH) -> tuple[Described, float]:
    """Convert, and compare on a batch: the largest difference from the source run one item at a time."""
    check_onnx(data, "theirs.onnx")
    described = describe(data, given)
    networks = rewrite(data, described)
    assert (networks.backbone is None, networks.head is None) == (described.fused, not described.fused)
    graph = networks.backbone or networks.head or b""
    check_onnx(graph, "ours.onnx")
    assert rewrite(data, described) == networks
    network, items = OnnxRuntimeNetwork(graph, name="ours"), noise(described, count)
    expected = by_source(data, described, items)
    assert np.ptp(expected[:, 0]) > 0.01
    side, frames = described.layout.size_px, described.layout.frames
    (taken,), (made,) = network.inputs, network.outputs
    wanted = ("window", (None, frames, 3 * side**2)) if described.fused else ("crops", (None, 3, side, side))
    assert (taken.name, taken.shape) == wanted
    assert (made.name, made.shape) == ("outputs", (None, described.outputs))
    (outputs,) = network.run({taken.name: items.reshape(count, *wanted[1][1:])}).values()
    return described, float(np.abs(outputs - expected).max())


@pytest.mark.parametrize("axes", ["NCHW", "NHWC"])
@pytest.mark.parametrize("end", list(ENDS))
def test_per_frame_models(end, axes):
    given = {"activation": "logits"} if end == "logits" else {}
    described, difference = converted(per_frame(end, axes), given)
    assert difference < 1e-6
    activation = "sigmoid" if end == "sigmoid" else "softmax"
    assert described.measured == {"size_px": SIDE, "frames": 1, "activation": activation}
    assert (described.layout.axes, described.logits, described.warnings) == (axes, end == "logits", ())


@pytest.mark.parametrize("constant", [False, True])
def test_zeros_around_a_pooling_stay_zeros(constant):
    """ONNX Runtime fuses Pad and MaxPool into one whose padding never wins; negative values tell the difference."""
    dice = np.random.default_rng(1)
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)
    values = dice.standard_normal((3 * ((SIDE + 2) // 2) ** 2, 1)).astype(np.float32)
    weights = [numpy_helper.from_array(values, "w"), numpy_helper.from_array(pads, "pads")]
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    nodes = [
        helper.make_node("Exp", ["images"], ["e"]),
        helper.make_node("Neg", ["e"], ["n"]),
        helper.make_node("Pad", ["n", "pads", "zero"], ["p"]),
        helper.make_node("MaxPool", ["p"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["outputs"]),
    ]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["zero"], value=zero))
    graph = helper.make_graph(
        nodes,
        "zeros",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("outputs", TensorProto.FLOAT, ["n", 1])],
        weights if constant else [*weights, zero],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert converted(model.SerializeToString(), {})[1] < 1e-6


@pytest.mark.parametrize("axes", ["NCTHW", "NTHWC", "NTCHW"])
def test_clip_models_of_volumes(axes):
    described, difference = converted(volumetric(axes), {"activation": "logits"})
    assert difference < 1e-6
    assert described.measured == {"size_px": SIDE, "frames": FRAMES, "activation": "softmax"}
    assert described.layout.axes == axes
    assert any("about 5 times the work" in warning for warning in described.warnings)


@pytest.mark.parametrize(("batch", "states"), [("batch", False), (1, False), (1, True)])
def test_clip_models_with_a_recurrent_operator(batch, states):
    described, difference = converted(recurrent(batch, states), {})
    assert difference < 1e-6
    assert any("LSTM" in warning for warning in described.warnings)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_that_was_nailed_down_is_freed(batch):
    described, difference = converted(nailed(batch), {})
    assert difference < 1e-6
    assert described.layout.batch == batch


def test_a_batch_that_was_nailed_down_behind_an_open_axis():
    model = ModelProto.FromString(nailed())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    assert converted(model.SerializeToString(), {})[1] < 1e-6


def test_a_batch_that_cannot_be_freed():
    draft = Draft()
    features = draft.cnn("images")
    whole = draft.node("Sub", features, draft.node("ReduceMean", features, axes=[0], keepdims=1))
    data = draft.model(draft.ending(draft.node("Add", whole, features), 12, "softmax"), (1, 3, SIDE, SIDE))
    with pytest.raises(ConversionError, match="export it with a dynamic batch axis"):
        rewrite(data, describe(data, {}))


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 1, 1)])
def test_outputs_of_other_shapes(shape):
    model = ModelProto.FromString(per_frame("sigmoid"))
    if len(shape) == 1:
        axes = numpy_helper.from_array(np.array([1]), "axes")
        model.graph.node.append(helper.make_node("Squeeze", [model.graph.output[0].name, "axes"], ["y"]))
    else:
        axes = numpy_helper.from_array(np.array([2]), "axes")
        model.graph.node.append(helper.make_node("Unsqueeze", [model.graph.output[0].name, "axes"], ["y"]))
    model.graph.initializer.append(axes)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b"] + [1] * (len(shape) - 1)))
    assert converted(model.SerializeToString(), {})[1] < 1e-6


def test_open_axes_are_filled():
    model = ModelProto.FromString(volumetric())
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_param = "open"
    data = model.SerializeToString()
    with pytest.raises(ConversionError) as caught:
        describe(data, {"activation": "logits"})
    assert [reason.split(":")[-1] for reason in caught.value.reasons] == [" --spec size_px=N", " --spec frames=N"]
    described, difference = converted(data, {"activation": "logits", "frames": 6, "size_px": 40})
    assert (described.layout.frames, described.layout.size_px) == (6, 40)
    assert difference < 1e-6


def test_old_exporters_list_weights_as_inputs():
    model = ModelProto.FromString(per_frame("softmax"))
    model.ir_version = 3
    for item in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(item.name, item.data_type, item.dims))
    assert converted(model.SerializeToString(), {})[1] < 1e-6


def test_a_newer_opset_is_kept_and_warned_of():
    model = ModelProto.FromString(per_frame("softmax"))
    model.opset_import[0].version = 20
    data = model.SerializeToString()
    described, difference = converted(data, {})
    assert difference < 1e-6
    assert any("opset_version=17" in warning for warning in described.warnings)
    kept = ModelProto.FromString(rewrite(data, described).backbone or b"")
    assert (kept.opset_import[0].version, kept.ir_version) == (20, 9)


def refused(data: bytes, given: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(ConversionError) as caught:
        describe(data, given or {})
    assert caught.value.reasons
    return "\n".join(caught.value.reasons)


@pytest.mark.parametrize(
    ("end", "said", "wanted"),
    [
        ("logits", None, "it ends in Gemm.*--spec activation=logits"),
        ("logits", "softmax", "no probabilities"),
        ("logits", "sigmoid", "wanted softmax or logits"),
        ("softmax", "logits", "the model itself ends in a softmax"),
        ("softmax", "sigmoid", "wanted softmax or logits"),
        ("sigmoid", "softmax", "wanted sigmoid or logits"),
        ("sigmoid", "tanh", "wanted one of softmax, sigmoid, logits"),
    ],
)
def test_what_the_outputs_are_is_never_guessed(end, said, wanted):
    with pytest.raises(ConversionError, match=wanted):
        describe(per_frame(end), {} if said is None else {"activation": said})


def test_probabilities_that_the_user_vouches_for():
    model = ModelProto.FromString(per_frame("sigmoid"))
    last = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Mul", [last, last], ["squared"]))
    model.graph.output[0].name = "squared"
    data = model.SerializeToString()
    assert "ends in Mul" in refused(data)
    assert converted(data, {"activation": "sigmoid"})[1] < 1e-6


# More nodes after a draft's last value.
COMBINED = {
    "cast": lambda draft, last: draft.node("Cast", draft.node("Cast", last, to=11), to=1),
    "one less it": lambda draft, last: draft.node("Sub", draft.constant(np.float32(1)), last),
    "a weighted mean": lambda draft, last: draft.node(
        "Add",
        draft.node("Mul", last, draft.constant(np.float32(0.3))),
        draft.node("Mul", draft.node("Identity", last), draft.constant(np.float32(0.7))),
    ),
    "a maximum": lambda draft, last: draft.node(
        "ReduceMax", draft.node("Unsqueeze", last, draft.constant(np.array([1]))), axes=[1], keepdims=0
    ),
    "one of one": lambda draft, last: draft.node(
        "Gather", draft.node("Unsqueeze", last, draft.constant(np.array([1]))), draft.constant(np.array(0)), axis=1
    ),
}


@pytest.mark.parametrize("end", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", COMBINED)
def test_no_second_softmax_is_put_on_probabilities(name, end):
    draft = Draft()
    last = COMBINED[name](draft, draft.ending(draft.cnn("images"), 12, end))
    data = draft.model(last, ("batch", 3, SIDE, SIDE), ("batch", ENDS[end]))
    said = refused(data)
    assert f"--spec activation={end}" in said
    assert "logits" not in said
    assert "computed from probabilities already" in refused(data, {"activation": "logits"})
    assert converted(data, {"activation": end})[1] < 1e-6


def test_logits_whose_numbers_are_probabilities():
    """A softmax that is spelt out."""
    draft = Draft()
    powers = draft.node("Exp", draft.ending(draft.cnn("images"), 12, "logits"))
    last = draft.node("Div", powers, draft.node("ReduceSum", powers, draft.constant(np.array([1])), keepdims=1))
    data = draft.model(last, ("batch", 3, SIDE, SIDE), ("batch", 2))
    assert "computed from probabilities already" in refused(data, {"activation": "logits"})
    assert converted(data, {"activation": "softmax"})[1] < 1e-6


def test_logits_in_which_a_sigmoid_has_a_part():
    draft = Draft()
    features = draft.cnn("images")
    gate = draft.node("Sigmoid", draft.ending(features, 12, "logits"))
    last = draft.node("Mul", draft.ending(features, 12, "logits"), gate)
    data = draft.model(last, ("batch", 3, SIDE, SIDE), ("batch", 2))
    assert "--spec activation=logits" in refused(data)
    assert converted(data, {"activation": "logits"})[1] < 1e-6


@pytest.mark.parametrize(("end", "last"), [("sigmoid", "Softmax"), ("softmax", "Sigmoid")])
def test_an_ending_that_does_not_go_with_its_outputs(end, last):
    model = ModelProto.FromString(per_frame(end))
    model.graph.node[-1].op_type = last
    del model.graph.node[-1].attribute[:]
    assert f"ends in a {last.lower()}" in refused(model.SerializeToString())


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        (("b", 4, SIDE, SIDE), "in 3 colours"),
        (("b", 3, SIDE, 48), "square crops"),
        (("b", 3, 3, SIDE, SIDE), "NTCHW or NCTHW"),
        (("b", "c", SIDE, SIDE), "in 3 colours"),
        (("b", 3 * SIDE * SIDE), "wanted \\(batch, 3, S, S\\)"),
        (("b", 3, 8192, 8192), "wanted crops of 1 to 4096 pixels"),
        (("b", 3, 2000, SIDE, SIDE), "wanted clips of 1 to 1024 frames"),
        ((1 << 20, 3, SIDE, SIDE), "insists on a batch of 1048576"),
    ],
)
def test_inputs_that_are_no_crops(shape, wanted):
    draft = Draft()
    with pytest.raises(ConversionError, match=wanted):
        describe(draft.model(draft.node("Relu", "images"), shape, shape), {})


def test_every_reason_at_once():
    model = ModelProto.FromString(per_frame("softmax"))
    model.opset_import[0].version = 22
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["b", 2]))
    model.graph.node.append(helper.make_node("Add", [model.graph.output[0].name, "mask"], ["other"]))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["b", 2]))
    said = refused(model.SerializeToString())
    for part in ("opset is 22, wanted 9 to 21", "it has 2 (images, mask)", "one output, it has 2"):
        assert part in said


@pytest.mark.parametrize(
    ("kind", "advice"), [("FLOAT16", "in float32"), ("UINT8", "--spec mean, scale"), ("DOUBLE", "in float32")]
)
def test_inputs_of_other_types(kind, advice):
    model = ModelProto.FromString(per_frame("softmax"))
    model.graph.node.insert(0, helper.make_node("Cast", ["raw"], ["images"], to=TensorProto.FLOAT))
    model.graph.input[0].name = "raw"
    model.graph.input[0].type.tensor_type.elem_type = getattr(TensorProto, kind)
    said = refused(model.SerializeToString())
    assert "wanted float32" in said
    assert advice in said


def test_training_mode():
    model = ModelProto.FromString(per_frame("softmax"))
    first = model.graph.node[0].output[0]
    model.graph.node[0].output[0] = "dropped"
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(0.5), "half"), numpy_helper.from_array(np.True_, "on")]
    )
    model.graph.node.insert(1, helper.make_node("Dropout", ["dropped", "half", "on"], [first]))
    assert "Dropout: in training mode; call model.eval()" in refused(model.SerializeToString())


def test_a_size_that_the_model_does_not_take():
    model = ModelProto.FromString(nailed())
    for axis in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        axis.dim_param = "open"
    data = model.SerializeToString()
    assert describe(data, {"size_px": SIDE}).layout.size_px == SIDE
    with pytest.raises(ConversionError, match="it fails on 1 frames of 48 pixels"):
        describe(data, {"size_px": 48})


def test_outputs_that_are_no_numbers():
    model = ModelProto.FromString(per_frame("logits"))
    model.graph.node.append(helper.make_node("Log", [model.graph.output[0].name], ["logarithm"]))
    model.graph.output[0].name = "logarithm"
    with pytest.raises(ConversionError, match="not finite"):
        describe(model.SerializeToString(), {"activation": "logits"})


@pytest.mark.parametrize("data", [b"", b"no model", per_frame("softmax")[:-30]])
def test_what_is_no_model(data):
    with pytest.raises(ConversionError):
        describe(data, {})


@pytest.mark.parametrize("clip", [False, True])
def test_parity_with_the_model_as_it_came(clip, tiny, clip_crops, frame_crops):
    data = volumetric("NTCHW") if clip else per_frame("softmax", "NHWC")
    described = describe(data, {"activation": "logits"} if clip else {})
    spec = tiny.spec if clip else replace(tiny.spec, clip=ClipSpec())
    crops: CropSet = clip_crops if clip else frame_crops
    truth = reference(data, described, crops.crops, crops.windows, spec.crop)
    networks = rewrite(data, described)
    variants = {"fp32": Variant(networks.backbone, networks.head, {})}
    figures = compare(Bundle("theirs", spec, variants, truth.golden, {}), truth, crops)
    assert figures["outputs_max_diff"] < 1e-6
    assert figures["whole_max_diff"] == figures["cut_max_diff"] == 0
    assert figures["windows"] == len(crops.windows) + len(truth.golden.windows)
    assert truth.golden.features.shape == (8, 0 if clip else 2)


TORCH = """
import sys, torch
from torch import nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.cnn = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.lstm, self.last = nn.LSTM(8, 6, batch_first=True, bidirectional=True), nn.Linear(12, 2)
    def forward(self, clip):
        frames = self.cnn(clip.flatten(0, 1)).reshape(clip.shape[0], clip.shape[1], 8)
        return self.last(self.lstm(frames)[0][:, -1])
net, clip = Net().eval(), torch.randn(1, 5, 3, 32, 32)
torch.onnx.export(net, (clip,), sys.argv[1], dynamo=False, input_names=["images"], output_names=["y"], opset_version=17)
"""


def test_a_model_from_pytorch(tmp_path):
    if find_spec("torch") is None:
        pytest.skip("PyTorch is not installed; it is no dependency")
    path = tmp_path / "torch.onnx"
    subprocess.run([sys.executable, "-W", "ignore", "-c", TORCH, str(path)], check=True, timeout=300)
    assert converted(path.read_bytes(), {"activation": "logits"})[1] < 1e-6
