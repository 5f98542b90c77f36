"""Stand-ins that really compute: a tiny model in ONNX, a face finder that follows a script."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepfake_edge.bundle import Bundle, Golden, Variant
from deepfake_edge.data import Face, Frame
from deepfake_edge.model import fake_scores, normalise
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec

SIZE_PX = 8
_OPSET = 17


class ScriptedFinder:
    """Finds the boxes that the script has for each frame index."""

    def __init__(self, script: dict[int, list[tuple[float, float, float, float]]]) -> None:
        self._script = script

    def find(self, frames: Sequence[Frame]) -> list[list[Face]]:
        return [[Face(box, 1.0) for box in self._script.get(frame.index, [])] for frame in frames]


def serialise(nodes, initializers, given, taken) -> bytes:
    """A one-input, one-output float32 graph; shapes are (name, shape)."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(taken[0], TensorProto.FLOAT, taken[1])],
        [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def brightness_graph(output: str, activation: str | None) -> bytes:
    """crops (N, 3, S, S) -> their mean over all planes, through `activation`: (N, 1)."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["crops"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["mean" if activation else output]),
    ]
    if activation:
        nodes.append(helper.make_node(activation, ["mean"], [output]))
    weights = np.full((3, 1), 4 / 3, np.float32)
    return serialise(nodes, {"weights": weights}, (output, ["n", 1]), ("crops", ["n", 3, SIZE_PX, SIZE_PX]))


def mean_head(frames: int) -> bytes:
    """window (B, frames, 1) -> sigmoid of its sum over time: (B, 1)."""
    nodes = [
        helper.make_node("Flatten", ["window"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["outputs"]),
    ]
    weights = np.full((frames, 1), 1 / frames, np.float32)
    return serialise(nodes, {"weights": weights}, ("outputs", ["b", 1]), ("window", ["b", frames, 1]))


def bright_means_fake(frames: int = 1, sample_fps: float | None = None, stride: int = 1) -> Bundle:
    """A model whose fake score rises with the brightness of the crops: sigmoid(4 * mean)."""
    spec = ModelSpec(
        family="bright",
        crop=CropSpec(size_px=SIZE_PX),
        clip=ClipSpec(frames, sample_fps, stride),
        classes=("fake",),
        activation="sigmoid",
    )
    backbone = brightness_graph("outputs" if frames == 1 else "features", "Sigmoid" if frames == 1 else None)
    head = None if frames == 1 else mean_head(frames)
    return Bundle("bright", spec, {"fp32": Variant(backbone, head, {"max": 0.0})}, _golden(spec), {"made": "by hand"})


def _golden(spec: ModelSpec) -> Golden:
    levels = np.linspace(0, 255, 4).astype(np.uint8)
    crops = np.broadcast_to(levels[:, None, None, None], (4, SIZE_PX, SIZE_PX, 3)).copy()
    windows = np.arange(4 * spec.clip.frames, dtype=np.int64).reshape(4, spec.clip.frames) % 4
    means = 4 * normalise(crops, spec.crop).mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
    outputs = 1 / (1 + np.exp(-means[windows].mean(axis=1)))
    features = means if spec.clip.frames > 1 else outputs
    return Golden(crops, windows, features.astype(np.float32), outputs.astype(np.float32))


def score_of(level: int) -> float:
    """What `bright_means_fake` says of crops that are all `level`."""
    mean = (level - 127.5) / 127.5
    return float(fake_scores(np.array([[1 / (1 + np.exp(-4 * mean))]], np.float32), bright_means_fake().spec)[0])
