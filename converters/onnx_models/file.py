"""An ONNX model that someone else exported: what it takes and gives, and what it says of real crops.

Nothing of it is cut: a per-frame model becomes a backbone, a clip model one fused clip network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.exporting.canonical import constants_of
from deepfake_edge.converters.failures import last_line
from deepfake_edge.converters.onnx_models.ending import read_ending
from deepfake_edge.converters.onnx_models.layout import Layout, find_layout
from deepfake_edge.converters.onnx_models.source import Source, load, noise, probabilities, refusal
from deepfake_edge.converters.reference import Reference, golden_windows
from deepfake_edge.data import Floats, Pixels
from deepfake_edge.errors import BundleError, InferenceError
from deepfake_edge.golden_arrays import Golden
from deepfake_edge.model import normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import CropSpec

_NAME = "the model"
_OPSETS = range(9, 22)
# The newest that TensorRT parses before its version 10.
_OLD_TENSORRT_OPSET = 17
_LOOPED = ("GRU", "LSTM", "RNN")
_DTYPES = {
    "float16": "export it in float32",
    "uint8": "export the part after the conversion to float32, and give the normalisation with --spec mean, scale",
}


@dataclass(frozen=True, slots=True)
class Described:
    """What an ONNX model takes and gives.

    Attributes:
        layout: its input, axis by axis.
        outputs: C: 1, a sigmoid, or 2, a softmax.
        logits: the outputs are logits, for which the sigmoid or softmax is still to be computed.
        warnings: what a user should know.
    """

    layout: Layout
    outputs: int
    logits: bool
    warnings: tuple[str, ...]

    @property
    def activation(self) -> Literal["softmax", "sigmoid"]:
        """Which kind the probabilities are."""
        return "softmax" if self.outputs == 2 else "sigmoid"

    @property
    def measured(self) -> dict[str, Any]:
        """What the model itself says of the spec."""
        return {"size_px": self.layout.size_px, "frames": self.layout.frames, "activation": self.activation}

    @property
    def fused(self) -> bool:
        """Whether it becomes a fused clip network."""
        return self.layout.frames > 1


def describe(data: bytes, given: Mapping[str, Any]) -> Described:
    """Look at a model, and run it once on noise.

    Args:
        data: serialised ONNX that `onnx_wire.check_onnx` has passed.
        given: parsed spec values of the user's: `frames` and `size_px` fill open axes, `activation` (which may be
            `logits`) says what the outputs are where the graph's end does not.
    Raises:
        ConversionError: it is not a model of faces to two classes, or not understood; carries every reason.
    """
    model = load(data)
    reasons = _general_objections(model)
    layout, network = None, None
    try:
        network = OnnxRuntimeNetwork(data, name=_NAME, optimise=False)
    except BundleError as error:
        reasons.append(str(error))
    if network is not None:
        layout, said = _input(network, given)
        reasons += said + _output(network)
    if reasons or network is None or layout is None:
        raise refusal(reasons)
    source = Source(network, layout)
    try:
        outputs = source.columns(noise(layout))
    except InferenceError as error:
        raise refusal([f"it fails on {layout.frames} frames of {layout.size_px} pixels: {last_line(error)}"]) from error
    if not np.isfinite(outputs).all():
        raise refusal(["it gives numbers that are not finite on noise"])
    if outputs.shape[1] not in (1, 2):
        shape = network.outputs[0].shape
        raise refusal([f"its output {network.outputs[0].name!r} is {shape}; wanted (batch, 1) or (batch, 2)"])
    logits, said = read_ending(model.graph, outputs, given.get("activation"))
    if said:
        raise refusal(said)
    return Described(layout, outputs.shape[1], logits, tuple(_warnings(model, layout)))


def open_source(data: bytes, described: Described) -> Callable[[Floats], Floats]:
    """Load the model as it is, unchanged: a function from (N, *layout.plain) to probabilities (N, C)."""
    source = Source(OnnxRuntimeNetwork(data, name=_NAME, optimise=False), described.layout)
    return lambda items: probabilities(source.columns(items)) if described.logits else source.columns(items)


def reference(
    data: bytes, described: Described, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec
) -> Reference:
    """Run the model as it is, unchanged, at a batch of its own.

    Args:
        data: as `describe` was given it.
        described: what that returned.
        crops: uint8 (N, S, S, 3), channels in the spec's order.
        windows: int64 (W, frames), which crops make up each window.
        spec: how crops are normalised.
    Returns:
        what `parity.compare` wants; the model is the whole and its parts at once.
    """
    chosen, replayed = golden_windows(len(crops), windows.shape[1])
    windows = np.concatenate([windows, chosen[replayed]])
    run = open_source(data, described)

    def outputs_of(indices: NDArray[np.int64]) -> Floats:
        return run(normalise(crops[indices.ravel()], spec).reshape(-1, *described.layout.plain))

    if described.fused:
        features = np.zeros((len(crops), 0), np.float32)
        outputs = np.concatenate([outputs_of(window[None]) for window in windows])
    else:
        features = np.concatenate([outputs_of(np.array([number])) for number in range(len(crops))])
        outputs = features[windows[:, 0]]
    golden = Golden(crops[chosen], replayed, features[chosen], outputs[-len(replayed) :])
    return Reference(windows, features, outputs, outputs, outputs, np.arange(len(windows)), golden)


def _general_objections(model: Any) -> list[str]:
    reasons = []
    constants, version = constants_of(model.graph), _opset(model)
    if version not in _OPSETS:
        reasons.append(f"its opset is {version}, wanted {_OPSETS[0]} to {_OPSETS[-1]}; export it with opset_version=17")
    training = sorted({node.op_type for node in model.graph.node if _trains(node, constants)})
    if training:
        reasons.append(f"{', '.join(training)}: in training mode; call model.eval() before exporting")
    return reasons


def _trains(node: Any, constants: Mapping[str, Any]) -> bool:
    if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
        flag = constants.get(node.input[2])
        return flag is None or bool(flag.any())
    return any(item.name == "training_mode" and item.i for item in node.attribute)


def _opset(model: Any) -> int:
    return max((int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx")), default=0)


def _input(network: OnnxRuntimeNetwork, given: Mapping[str, Any]) -> tuple[Layout | None, list[str]]:
    if len(network.inputs) != 1:
        names = ", ".join(item.name for item in network.inputs) or "none"
        return None, [f"wanted one input, the crops; it has {len(network.inputs)} ({names})"]
    (taken,) = network.inputs
    layout, reasons = find_layout(taken.shape, given)
    if taken.dtype != "float32":
        advice = _DTYPES.get(taken.dtype, "export it in float32")
        reasons.insert(0, f"its input {taken.name!r} is {taken.dtype}, wanted float32; {advice}")
    return layout, reasons


def _output(network: OnnxRuntimeNetwork) -> list[str]:
    if len(network.outputs) != 1:
        names = ", ".join(item.name for item in network.outputs)
        return [f"wanted one output, it has {len(network.outputs)} ({names}); export it with the classes only"]
    (given,) = network.outputs
    return [] if given.dtype == "float32" else [f"its output {given.name!r} is {given.dtype}, wanted float32"]


def _warnings(model: Any, layout: Layout) -> Iterator[str]:
    version = _opset(model)
    if version > _OLD_TENSORRT_OPSET:
        yield (
            f"its opset is {version}: TensorRT before 10 (JetPack 5 and 6.0) parses {_OLD_TENSORRT_OPSET} at most; "
            f"for those, export it with opset_version={_OLD_TENSORRT_OPSET}"
        )
    looped = sorted({node.op_type for node in model.graph.node} & set(_LOOPED))
    if looped:
        yield f"it holds {', '.join(looped)}, which TensorRT runs as a loop"
    if layout.frames > 1:
        yield (
            f"a clip model in ONNX is converted whole: every window computes all of its {layout.frames} frames, "
            f"about {layout.frames} times the work of a Keras model that is cut"
        )
