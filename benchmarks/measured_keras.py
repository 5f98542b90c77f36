"""A Keras model on one clip, as a process that is measured; see `process.Contender`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.benchmarks.process import serve, times_ms
from deepfake_edge.bundle import read_bundle
from deepfake_edge.converters.failures import told
from deepfake_edge.model import normalise
from deepfake_edge.training import workshop

_FRAMES = 30


def predict(keras: str, bundle: str, seconds: float) -> dict[str, Any]:
    """Load a model and time `predict` on a window of golden crops, or for a per-frame model on 30 of them.

    Args:
        keras: path of the model, which Keras loads without the converter's care: one of your own.
        bundle: path of what it was converted to; says what goes in.
        seconds: of measuring.
    Returns:
        `times_ms` of the calls, and the `frames` of one.
    Raises:
        ConversionError: Keras cannot load the model.
    """
    found = read_bundle(Path(bundle))
    clip = found.golden.windows[0] if found.spec.clip.frames > 1 else np.arange(_FRAMES) % len(found.golden.crops)
    frames = normalise(found.golden.crops[clip], found.spec.crop).transpose(0, 2, 3, 1)
    with workshop.quiet(), told(f"{keras}: Keras cannot load it"):
        model = workshop.keras().saving.load_model(keras, compile=False)
    given = np.ascontiguousarray(frames[None] if found.spec.clip.frames > 1 else frames)
    return {"times_ms": times_ms(lambda: model.predict(given, verbose=0), seconds), "frames": len(clip)}


def main() -> None:
    """Serve."""
    serve({"predict": predict})
