"""Clips and answers without pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training.datasets.entries import ClipEntry
from deepfake_edge.training.evaluating.judging import Answer, ClipScore, ClipWindows
from deepfake_edge.training.preparing.prepared import PreparedClip

FRAME_SPEC = ModelSpec("made", CropSpec(size_px=8), ClipSpec(2, 10.0), ("fake",), "sigmoid")


def made_clip(name="clip", label="real", times_s=(0.0, 0.1, 0.2), seen=None, **known):
    """`known` is what else there is to say of it: its `split`, `source`, and the folder that it is `among`."""
    count = len(times_s)
    return PreparedClip(
        ClipEntry(known.get("source", f"{name}.mp4"), label, known.get("split", "test"), "made", None, (), name),
        known.get("among", Path("nowhere")) / name,
        times_s=tuple(times_s),
        boxes=((0.0, 0.0, 8.0, 8.0),) * count,
        seen=tuple(seen) if seen is not None else (True,) * count,
        landmarks=(None,) * count,
    )


def made_answer(name, label, probabilities):
    """A clip whose windows of two frames got these outputs."""
    count = len(probabilities)
    clip = made_clip(name, label, [place / 10 for place in range(count + 1)])
    crops = np.stack([np.arange(count), np.arange(count) + 1], 1)
    windows = ClipWindows(crops, np.arange(count) / 10, np.arange(1, count + 1) / 10)
    return Answer(clip, np.arange(count + 1), windows, np.asarray(probabilities, np.float32)[:, None])


def made_score(name, label, score, windows=(), dataset="made", manipulation=None):
    return ClipScore(name, label, dataset, manipulation, score, None if score is not None else "too short", windows)
