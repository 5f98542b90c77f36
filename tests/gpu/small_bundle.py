"""A clip model that is made in a moment, without Keras: two convolutions and a head, in fp32, fp16 and int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.golden import outputs_of
from deepfake_edge.golden_arrays import Golden
from deepfake_edge.model import Model, normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from fakes import mean_head

SIZE_PX, FRAMES, FEATURES = 64, 4, 24
SPEC = ModelSpec(
    family="small",
    crop=CropSpec(size_px=SIZE_PX),
    clip=ClipSpec(FRAMES, 10.0, 1),
    classes=("fake",),
    activation="sigmoid",
)


def small_bundle() -> Bundle:
    """Its golden crops are smooth colours, and its features spread over them."""
    random = np.random.default_rng(3)
    crops = _smooth(random, 8)
    windows = np.arange(8 * FRAMES, dtype=np.int64).reshape(8, FRAMES) * 3 % 8
    weights = _weights(random)
    fp32 = _backbone(weights, "fp32", {})
    head = mean_head(FRAMES, FEATURES)
    golden = Golden(crops, windows, np.zeros((8, FEATURES), np.float32), np.zeros((8, 1), np.float32))
    drafts = {
        name: Variant(graph, head, {"max": 0.0}, None)
        for name, graph in {
            "fp32": fp32,
            "fp16": _backbone(weights, "fp16", {}),
            "int8": _backbone(weights, "int8", _largest(fp32, normalise(crops, SPEC.crop))),
        }.items()
    }
    draft = Bundle("small", SPEC, drafts, golden, {"made": "by a test"})
    given = {name: _outputs(draft, name) for name in drafts}
    golden = Golden(crops, windows, given["fp32"].features, given["fp32"].outputs)
    variants = {name: replace(variant, golden=given[name]) for name, variant in drafts.items()}
    return replace(draft, golden=golden, variants=variants)


def _outputs(bundle: Bundle, variant: str):
    with Model(bundle, variant, lambda graph, title: OnnxRuntimeNetwork(graph, name=title)) as model:
        return outputs_of(model, bundle.golden)


def _smooth(random: np.random.Generator, count: int) -> np.ndarray:
    coarse = random.integers(0, 256, (count, 4, 4, 3))
    return np.repeat(np.repeat(coarse, SIZE_PX // 4, axis=1), SIZE_PX // 4, axis=2).astype(np.uint8)


def _weights(random: np.random.Generator) -> dict[str, np.ndarray]:
    """Of two convolutions and a product; each output has about the spread of its inputs."""
    shapes = {"w1": ((16, 3, 3, 3), 27), "w2": ((32, 16, 3, 3), 144), "w3": ((32, FEATURES), 32)}
    return {
        name: (random.standard_normal(shape) * np.sqrt(2 / taken)).astype(np.float32)
        for name, (shape, taken) in shapes.items()
    }


def _backbone(weights: Mapping[str, np.ndarray], precision: str, largest: Mapping[str, float]) -> bytes:
    """crops (N, 3, S, S) -> features (N, F).

    Args:
        weights: of two convolutions and a product.
        precision: fp16 casts at both ends; int8 quantises what goes into each convolution, and its weights by channel.
        largest: the largest number of each tensor that is quantised, by its name.
    """
    kind = np.float16 if precision == "fp16" else np.float32
    values = {name: value.astype(kind) for name, value in weights.items()}
    nodes = [helper.make_node("Cast", ["crops"], ["x0"], to=helper.np_dtype_to_tensor_dtype(np.dtype(kind)))]
    for number in (1, 2):
        taken, weight = f"x{number - 1}", f"w{number}"
        if precision == "int8":
            nodes += _quantised(values, taken, np.float32(largest[taken] / 127), None)
            nodes += _quantised(values, weight, np.abs(values[weight]).max(axis=(1, 2, 3)) / 127, 0)
            taken, weight = f"{taken}_back", f"{weight}_back"
        nodes.append(helper.make_node("Conv", [taken, weight], [f"c{number}"], strides=[2, 2], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"x{number}"]))
    nodes += [
        helper.make_node("GlobalAveragePool", ["x2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "w3"], ["product"]),
        helper.make_node("Cast", ["product"], ["features"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, SIZE_PX, SIZE_PX])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _quantised(values: dict[str, np.ndarray], name: str, scale: np.ndarray, axis: int | None) -> list[onnx.NodeProto]:
    """To int8 and back, symmetric; its scale and zero go into `values`."""
    values[f"{name}_scale"] = np.asarray(scale, np.float32)
    values[f"{name}_zero"] = np.zeros(np.shape(scale), np.int8)
    constants = [f"{name}_scale", f"{name}_zero"]
    along = {} if axis is None else {"axis": axis}
    return [
        helper.make_node("QuantizeLinear", [name, *constants], [f"{name}_whole"], **along),
        helper.make_node("DequantizeLinear", [f"{name}_whole", *constants], [f"{name}_back"], **along),
    ]


def _largest(graph: bytes, crops: np.ndarray) -> dict[str, float]:
    """The largest number in what goes into each convolution."""
    model = onnx.load_from_string(graph)
    model.graph.output.append(helper.make_tensor_value_info("x1", TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (inner,) = session.run(["x1"], {"crops": crops})
    return {"x0": float(np.abs(crops).max()), "x1": float(np.abs(inner).max())}
