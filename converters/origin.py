"""What a model is converted from: a Keras model, an ONNX file or a SavedModel, behind one face."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from deepfake_edge.converters.export import Networks
from deepfake_edge.converters.order import COPIES, Order
from deepfake_edge.converters.parity import Reference
from deepfake_edge.data import Pixels
from deepfake_edge.spec import CropSpec


class Origin(Protocol):
    """An opened model that can be converted."""

    def summary(self) -> dict[str, Any]:
        """What is known of it, as plain JSON values: see `convert.Opened`."""
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
        from deepfake_edge.converters.onnx_origin import OnnxOrigin

        return OnnxOrigin(copy, order)
    from deepfake_edge.converters.keras_origin import open_keras

    return open_keras(copy, order, progress)


def summary(
    measured: Mapping[str, Any],
    *,
    family: str | None,
    how: str,
    pixels: Mapping[str, Any] | None,
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    """The answer of `Origin.summary`.

    Args:
        measured: size_px, frames, activation.
        family: the family's name, if it is of one.
        how: how that is known, in words.
        pixels: mean, scale and words, where the model's own first layers say what values go in.
        warnings: what a user should know.
    """
    return {"measured": dict(measured), "family": family, "how": how, "pixels": pixels, "warnings": list(warnings)}
