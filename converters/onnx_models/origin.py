"""An ONNX file as something to convert: described, rewritten, and run as it is for reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.exporting.export import Networks
from deepfake_edge.converters.findings import Findings
from deepfake_edge.converters.onnx_models.file import describe, reference
from deepfake_edge.converters.onnx_models.rewrite import rewrite
from deepfake_edge.converters.order import Order
from deepfake_edge.converters.reference import Reference
from deepfake_edge.data import Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import CropSpec


class OnnxOrigin:
    """A model that someone else exported; implements `origin.Origin`."""

    def __init__(self, copy: Path, order: Order) -> None:
        """Read the checked copy.

        Raises:
            InvalidInput: an option has no meaning for it.
            ConversionError: it is not understood; carries every reason.
        """
        if order.family is not None:
            raise InvalidInput(f"--family: {order.title} is ONNX, which is of no family; say what it expects: --spec")
        self._data = copy.read_bytes()
        self._described = describe(self._data, order.given)
        if order.fused and not self._described.fused:
            raise InvalidInput(f"--fused: {order.title} is a per-frame model, which has no window to convert whole")

    def findings(self) -> Findings:
        """See `origin.Origin.findings`."""
        return Findings(self._described.measured, None, "ONNX, of no family", warnings=self._described.warnings)

    def export(self) -> Networks:
        """See `origin.Origin.export`."""
        return rewrite(self._data, self._described)

    def reference(self, crops: Pixels, windows: NDArray[np.int64], crop: CropSpec) -> Reference:
        """See `origin.Origin.reference`."""
        return reference(self._data, self._described, crops, windows, crop)
