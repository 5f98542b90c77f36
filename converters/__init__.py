"""The workshop: a trained model becomes a bundle. Nothing here loads TensorFlow into the caller's process.

`convert` is the parent: it checks what the user gave (`intake`, `files/`), asks the conversion process (`sandbox` is
its outside, `worker` its inside), settles what the model expects (`spec_values`), compares with the source
(`reference`, `parity`, `fit`), lowers the precision (`precision/`), writes.
In the process an `origin` opens the model (`keras_models/`, `onnx_models/`), which is cut (`cutting/`) and exported
(`exporting/`).
"""

from __future__ import annotations

from deepfake_edge.converters.convert import ConversionReport, convert
from deepfake_edge.converters.options import ConvertOptions
from deepfake_edge.converters.sandbox import Limits

__all__ = ["ConversionReport", "ConvertOptions", "Limits", "convert"]
