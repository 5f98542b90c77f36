"""The workshop: a trained Keras model becomes a bundle. Importing this loads no TensorFlow; converting does."""

from __future__ import annotations

from deepfake_edge.converters.convert import ConversionReport, ConvertOptions, convert

__all__ = ["ConversionReport", "ConvertOptions", "convert"]
