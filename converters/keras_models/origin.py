"""A Keras model as something to convert: read, cut, exported, and run for reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.cutting.cut import Cut, cut
from deepfake_edge.converters.exporting.export import Networks, export
from deepfake_edge.converters.failures import told
from deepfake_edge.converters.findings import Findings
from deepfake_edge.converters.keras_models.read import Loaded, read_model
from deepfake_edge.converters.keras_models.reference import run_keras
from deepfake_edge.converters.order import Order
from deepfake_edge.converters.reference import Reference
from deepfake_edge.data import Pixels
from deepfake_edge.spec import CropSpec
from deepfake_edge.training import workshop


@dataclass(slots=True)
class KerasOrigin:
    """A loaded and cut Keras model; implements `origin.Origin`."""

    loaded: Loaded
    parts: Cut

    def findings(self) -> Findings:
        """See `origin.Origin.findings`."""
        parts, family = self.parts, self.loaded.family
        return Findings(
            measured={"size_px": parts.size_px, "frames": parts.frames, "activation": parts.activation},
            family=None if family is None else family.name,
            how=self.loaded.how,
            assumed={**self._open_axes(), **self.loaded.assumed},
            pixels=parts.pixels,
            warnings=(*self.loaded.warnings, *parts.warnings),
        )

    def _open_axes(self) -> dict[str, str]:
        """Sizes that the model leaves open, which its family filled where the user did not."""
        shape, family = self.loaded.model.input_shape, self.loaded.family
        if family is None:
            return {}
        open_axes = {"size_px": shape[-2] is None, "frames": len(shape) == 5 and shape[1] is None}
        return {key: f"family {family.name}" for key, is_open in open_axes.items() if is_open}

    def export(self) -> Networks:
        """See `origin.Origin.export`."""
        return export(self.parts)

    def reference(self, crops: Pixels, windows: NDArray[np.int64], crop: CropSpec) -> Reference:
        """See `origin.Origin.reference`."""
        whole = self.loaded.model if self.loaded.whole is None else _Called(self.loaded.whole, self.loaded.model.inputs)
        with told("Keras fails on real face crops"):
            return run_keras(whole, self.parts, crops, windows, crop)


@dataclass(frozen=True, slots=True)
class _Called:
    """A SavedModel's function with the face of a Keras model."""

    function: Callable[[Any], Any]
    inputs: Any

    def __call__(self, batch: Any, training: bool = False) -> Any:
        return workshop.tensorflow().constant(self.function(batch.numpy()))


def open_keras(copy: Path, order: Order, progress: Callable[[str], None]) -> KerasOrigin:
    """Read and cut; see `origin.open_origin`."""
    loaded = read_model(copy, order, progress)
    progress("cutting")
    frames, size_px = order.given.get("frames"), order.given.get("size_px")
    if loaded.family is not None:
        frames = loaded.family.spec.clip.frames if frames is None else frames
        size_px = loaded.family.spec.crop.size_px if size_px is None else size_px
    parts = cut(loaded.model, frames, size_px, fused=order.fused, activation=order.given.get("activation"))
    return KerasOrigin(loaded, parts)
