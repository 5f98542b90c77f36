"""An ONNX model as it came: loaded, and run at a batch of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.failures import told
from deepfake_edge.converters.onnx_models.layout import Layout
from deepfake_edge.data import Floats
from deepfake_edge.errors import ConversionError
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training import workshop


@dataclass(frozen=True, slots=True)
class Source:
    """The model as it came."""

    network: OnnxRuntimeNetwork
    layout: Layout

    def columns(self, items: Floats) -> Floats:
        """Run it on (N, *layout.plain), one at a time or at the batch that it insists on: (N, numbers of an item)."""
        step, name = self.layout.batch or 1, self.network.inputs[0].name
        found = []
        for start in range(0, len(items), step):
            few = items[start : start + step]
            padded = np.concatenate([few, few[-1:].repeat(step - len(few), axis=0)])
            (given,) = self.network.run({name: np.ascontiguousarray(padded.transpose(self.layout.order))}).values()
            found.append(_by_item(given, step, self.layout.frames)[: len(few)])
        return np.concatenate(found)


def _by_item(given: NDArray[Any], batch: int, frames: int) -> Floats:
    of_frames = given.ndim > 2 and frames > 1 and frames in given.shape[1:]
    if given.size % batch or of_frames:
        raise refusal([f"it gives {given.shape} for a batch of {batch}; wanted one or two numbers for each item"])
    columns: Floats = given.reshape(batch, -1)
    return columns


def load(data: bytes) -> Any:
    """Read a ModelProto. Raises ConversionError where it is not valid ONNX."""
    onnx = workshop.onnx()
    with told("the model is not valid ONNX"):
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
    return model


def noise(layout: Layout) -> Floats:
    """A few items (N, *layout.plain) that differ in brightness, always the same; never the model's own batch."""
    count = (layout.batch or 2) + 1
    values = np.random.default_rng(0).standard_normal((count, *layout.plain), np.float32)
    brightness = np.linspace(-1, 1, count, dtype=np.float32)
    return np.asarray(values + brightness.reshape(-1, *[1] * len(layout.plain)))


def probabilities(logits: Floats) -> Floats:
    """The sigmoid of (N, 1), the softmax of (N, 2), computed in float64."""
    values = logits.astype(np.float64)
    if logits.shape[1] == 1:
        return np.asarray(1 / (1 + np.exp(-values)), np.float32)
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def refusal(reasons: list[str]) -> ConversionError:
    """With every reason at once."""
    return ConversionError("this ONNX model cannot be converted:", reasons)
