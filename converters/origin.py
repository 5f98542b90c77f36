"""What a model is converted from: a Keras model, an ONNX file or a SavedModel, behind one face."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from deepfake_edge.converters.exporting.export import Networks
from deepfake_edge.converters.findings import Findings
from deepfake_edge.converters.order import COPIES, Order
from deepfake_edge.converters.reference import Reference
from deepfake_edge.data import Pixels
from deepfake_edge.spec import CropSpec


class Origin(Protocol):
    """An opened model that can be converted."""

    def findings(self) -> Findings:
        """What is known of it."""
        ...

    def export(self) -> Networks:
        """Its networks as ONNX. Raises ConversionError."""
        ...

    def reference(self, crops: Pixels, windows: NDArray[Any], crop: CropSpec) -> Reference:
        """What the model itself makes of crops uint8 (N, S, S, 3) and windows (W, frames). Raises ConversionError."""
        ...


def open_origin(order: Order, folder: Path, progress: Callable[[str], None]) -> Origin:
    """Open the checked copy that lies in `folder`.

    Raises:
        InvalidInput: an option is wrong.
        ConversionError: it cannot be loaded safely, or cannot be converted; carries every reason.
        MissingDependency: the `convert` extra is not installed.
    """
    copy = folder / COPIES[order.kind]
    if order.kind == "onnx":
        from deepfake_edge.converters.onnx_models.origin import OnnxOrigin

        return OnnxOrigin(copy, order)
    from deepfake_edge.converters.keras_models.origin import open_keras

    return open_keras(copy, order, progress)
