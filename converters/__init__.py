"""The workshop: a trained model becomes a bundle. Nothing here loads TensorFlow into the caller's process."""

from __future__ import annotations

from deepfake_edge.converters.convert import ConversionReport, ConvertOptions, convert
from deepfake_edge.converters.sandbox import Limits

__all__ = ["ConversionReport", "ConvertOptions", "Limits", "convert"]
