"""Runs a Keras model on real crops, stage by stage, in small pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.cutting.cut import Cut, Original
from deepfake_edge.converters.reference import Reference, batches, golden_windows
from deepfake_edge.data import Floats, Pixels
from deepfake_edge.golden_arrays import Golden
from deepfake_edge.model import normalise
from deepfake_edge.spec import CropSpec
from deepfake_edge.training import workshop

# Pixels that the whole model is given at most, beyond the golden windows that it is given in any case.
_WHOLE_PIXELS = 3_000_000


def run_keras(model: Any, parts: Cut, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> Reference:
    """Run Keras, in small pieces, on crops uint8 (N, S, S, 3) and windows (W, frames) of them.

    TimeDistributed runs its layer anew for every frame of every window, most of them the same crops. So all
    windows go through the model's own layers, which meet a crop once, and as many as a budget of pixels allows
    through the model as a whole: that these agree is part of the parity figures.
    """
    chosen, replayed = golden_windows(len(crops), windows.shape[1])
    windows = np.concatenate([windows, chosen[replayed]])
    features, by_cut = _by_cut(parts, crops, windows, spec)
    by_layers = by_cut if parts.original is None else _by_layers(parts.original, crops, windows, spec)
    whole = _whole_windows(windows, len(replayed), spec)
    by_model = _whole(model, parts, crops, windows[whole], spec)
    frame_outputs = None
    if parts.frame_outputs:
        frame_outputs = by_layers[1].copy()
        frame_outputs[whole] = by_model[1]
    golden = Golden(crops[chosen], replayed, features[chosen], by_model[0][-len(replayed) :])
    return Reference(windows, features, by_cut[0], by_layers[0], by_model[0], whole, golden, frame_outputs)


def _by_cut(parts: Cut, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> tuple[Floats, list[Floats]]:
    """The features, and what the head makes of the windows, by the cut model's own functions."""
    tf = workshop.tensorflow()
    if parts.backbone is None:
        given = normalise(crops, spec).reshape(len(crops), -1)
        features = np.zeros((len(crops), 0), np.float32)
    else:
        pictures = (tf.constant(_channels_last(batch, spec)) for batch in batches(crops))
        features = given = np.concatenate([parts.backbone(few).numpy() for few in pictures])
    if parts.head is None:
        return features, [features[windows[:, 0]]]
    return features, _joined(parts.head(tf.constant(given[few])) for few in batches(windows))


def _by_layers(original: Original, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> list[Floats]:
    tf = workshop.tensorflow()
    frames = _joined(original.frames(tf.constant(_channels_last(batch, spec))) for batch in batches(crops))
    return _joined(original.window([tf.constant(item[few]) for item in frames]) for few in batches(windows))


def _whole(model: Any, parts: Cut, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> list[Floats]:
    """The model as it was loaded; a clip at a time."""
    tf, flatten = workshop.tensorflow(), workshop.keras().tree.flatten
    if parts.frames == 1:
        inputs = (_channels_last(batch, spec) for batch in batches(crops[windows[:, 0]]))
    else:
        inputs = (_channels_last(crops[window], spec)[None] for window in windows)
    given = (flatten(model(tf.constant(values), training=False)) for values in inputs)
    return _joined(parts.ending.probabilities(outputs) for outputs in given)


def _joined(batches: Iterable[Sequence[Any]]) -> list[Floats]:
    """The same output of every batch, one after another."""
    return [np.concatenate([item.numpy() for item in items]) for items in zip(*batches, strict=True)]


def _whole_windows(windows: NDArray[np.int64], golden: int, spec: CropSpec) -> NDArray[np.int64]:
    """As many windows as the budget allows, evenly spread, and the golden ones, which come last."""
    others = len(windows) - golden
    affordable = min(others, _WHOLE_PIXELS // (windows.shape[1] * spec.size_px**2))
    chosen: NDArray[np.int64] = np.linspace(0, others - 1, affordable).round().astype(np.int64)
    return np.concatenate([chosen, np.arange(others, len(windows))])


def _channels_last(crops: Pixels, spec: CropSpec) -> Floats:
    return np.ascontiguousarray(normalise(crops, spec).transpose(0, 2, 3, 1))
