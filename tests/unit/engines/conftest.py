"""What the tests of engines share: an open GPU, bundles of every precision, and a runtime for plans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.cuda.device import Device, open_device
from deepfake_edge.golden import outputs_of
from deepfake_edge.model import Model
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from fakes import bright_means_fake


@pytest.fixture
def device(cuda_double) -> Iterator[Device]:
    """The CUDA double's one GPU."""
    with open_device(0) as opened:
        yield opened


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@pytest.fixture(scope="session")
def clip_bundle() -> Bundle:
    """A backbone and a head; the backbone in fp32, typed fp16 and Q/DQ int8."""
    bundle = bright_means_fake(frames=4, sample_fps=10.0)
    fp32 = bundle.variants["fp32"]
    graphs = {"fp32": fp32.backbone, "fp16": typed_fp16(fp32.backbone), "int8": quantised(fp32.backbone)}
    drafts = {name: replace(fp32, backbone=graph, golden=None) for name, graph in graphs.items()}
    return replace(bundle, variants={name: run_once(bundle, name, draft) for name, draft in drafts.items()})


@pytest.fixture(scope="session")
def fine_bundle() -> Bundle:
    """A network whose large weights cancel: what enters its product needs more than TF32's 10 bits."""
    bundle = bright_means_fake()
    model = onnx.load_from_string(bundle.variants["fp32"].backbone)
    weights = np.array([[100.1], [-99.7], [0.9]], np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    draft = replace(bundle.variants["fp32"], backbone=model.SerializeToString(), golden=None)
    return replace(bundle, variants={"fp32": run_once(bundle, "fp32", draft)})


def run_once(bundle: Bundle, name: str, draft: Variant) -> Variant:
    """A variant with what ONNX Runtime gives for the golden crops, as the converter writes it."""
    drafted = replace(bundle, variants={name: draft})
    with Model(drafted, name, lambda graph, title: OnnxRuntimeNetwork(graph, name=title)) as model:
        return replace(draft, golden=outputs_of(model, bundle.golden))


def typed_fp16(graph: bytes) -> bytes:
    """The brightness graph with its product in float16, casts around it."""
    model = onnx.load_from_string(graph)
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    taken, output = product.input[0], product.output[0]
    weights = numpy_helper.to_array(model.graph.initializer[0]).astype(np.float16)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "weights"))
    product.input[0], product.output[0] = "half", "half_product"
    at = list(model.graph.node).index(product)
    model.graph.node.insert(at, helper.make_node("Cast", [taken], ["half"], to=TensorProto.FLOAT16))
    model.graph.node.insert(at + 2, helper.make_node("Cast", ["half_product"], [output], to=TensorProto.FLOAT))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def quantised(graph: bytes) -> bytes:
    """The brightness graph with symmetric int8 in front of its product."""
    model = onnx.load_from_string(graph)
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    taken = product.input[0]
    product.input[0] = "back"
    model.graph.initializer.extend(
        [numpy_helper.from_array(np.float32(1 / 127), "scale"), numpy_helper.from_array(np.int8(0), "zero")]
    )
    at = list(model.graph.node).index(product)
    model.graph.node.insert(at, helper.make_node("QuantizeLinear", [taken, "scale", "zero"], ["whole"]))
    model.graph.node.insert(at + 1, helper.make_node("DequantizeLinear", ["whole", "scale", "zero"], ["back"]))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
