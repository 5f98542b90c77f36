"""Stand-ins that really compute: a tiny model in ONNX, a face finder that follows a script."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.data import Face, Frame
from deepfake_edge.golden_arrays import Golden, Outputs
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
    """A float32 graph of one input; shapes are (name, shape), `given` is one of them or a list."""
    outputs = given if isinstance(given, list) else [given]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(taken[0], TensorProto.FLOAT, taken[1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
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


def mean_head(frames: int, features: int = 1, frame_outputs: str | None = None) -> bytes:
    """window (B, frames, F) -> sigmoid of its sum over time and mean over features: (B, 1).

    With `frame_outputs`, a second output of that name has the same of each frame: (B, frames, 1).
    """
    nodes = [
        helper.make_node("Flatten", ["window"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "weights"], ["sum"]),
        helper.make_node("Sigmoid", ["sum"], ["outputs"]),
    ]
    scale = 1.0 if features == 1 else 4.0 / features
    weights = {"weights": np.full((frames * features, 1), scale / frames, np.float32)}
    given = [("outputs", ["b", 1])]
    if frame_outputs:
        nodes.append(helper.make_node("MatMul", ["window", "frame_weights"], ["means"]))
        nodes.append(helper.make_node("Sigmoid", ["means"], [frame_outputs]))
        weights["frame_weights"] = np.full((features, 1), scale, np.float32)
        given.append((frame_outputs, ["b", frames, 1]))
    return serialise(nodes, weights, given, ("window", ["b", frames, features]))


def bright_means_fake(
    frames: int = 1,
    sample_fps: float | None = None,
    stride: int = 1,
    *,
    name: str = "bright",
    fused: bool = False,
    frame_outputs: str | None = None,
    **changes: object,
) -> Bundle:
    """A model whose fake score rises with the brightness of the crops: sigmoid(4 * mean).

    Args:
        frames: of a window.
        sample_fps: as in ClipSpec.
        stride: as in ClipSpec.
        name: the bundle's.
        fused: one network for the whole window.
        frame_outputs: name of a second output, each frame's score.
        changes: of the spec.
    """
    spec = ModelSpec(
        family="bright",
        crop=CropSpec(size_px=SIZE_PX),
        clip=ClipSpec(frames, sample_fps, stride),
        classes=("fake",),
        activation="sigmoid",
        **changes,
    )
    backbone = None if fused else brightness_graph(*(("outputs", "Sigmoid") if frames == 1 else ("features", None)))
    head = None
    if frames > 1 or fused:
        head = mean_head(frames, 3 * SIZE_PX * SIZE_PX if fused else 1, frame_outputs)
    golden = _golden(spec, fused)
    variant = Variant(backbone, head, {"max": 0.0}, Outputs(golden.features, golden.outputs))
    return Bundle(name, spec, {"fp32": variant}, golden, {"made": "by hand"})


def _golden(spec: ModelSpec, fused: bool) -> Golden:
    levels = np.linspace(0, 255, 4).astype(np.uint8)
    crops = np.broadcast_to(levels[:, None, None, None], (4, SIZE_PX, SIZE_PX, 3)).copy()
    windows = np.arange(4 * spec.clip.frames, dtype=np.int64).reshape(4, spec.clip.frames) % 4
    means = 4 * normalise(crops, spec.crop).mean(axis=(1, 2, 3), dtype=np.float64)[:, None]
    outputs = 1 / (1 + np.exp(-means[windows].mean(axis=1)))
    features = means if spec.clip.frames > 1 else outputs
    if fused:
        features = np.empty((4, 0))
    return Golden(crops, windows, features.astype(np.float32), outputs.astype(np.float32))


def score_of(level: int) -> float:
    """What `bright_means_fake` says of crops that are all `level`."""
    mean = (level - 127.5) / 127.5
    return float(fake_scores(np.array([[1 / (1 + np.exp(-4 * mean))]], np.float32), bright_means_fake().spec)[0])
