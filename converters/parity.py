"""Does the converted model say what its source says? On real crops, stage by stage, before anything is written.

Keras's side (`reference`) and the comparison (`compare`) share arrays only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle
from deepfake_edge.converters.cutting.cut import Cut, Original
from deepfake_edge.data import Floats, Pixels
from deepfake_edge.errors import ConversionError
from deepfake_edge.golden import TOLERANCE
from deepfake_edge.golden_arrays import Golden
from deepfake_edge.model import Model, fake_scores, normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import CropSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.face_crops import CropSet

GATE = TOLERANCE["fp32"]
_BATCH = 4
_GOLDEN_CROPS = 8
# Pixels that the whole model is given at most, beyond the golden windows that it is given in any case.
_WHOLE_PIXELS = 3_000_000
# Below this spread of the fake scores a network could ignore its input and still agree.
_MIN_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Reference:
    """What Keras makes of the crops.

    Attributes:
        windows: int64 (W, frames), the crop set's windows and after them the golden ones.
        features: float32 (N, F), by the cut model's backbone, run by TensorFlow; (N, 0) of a fused clip network.
        cut_outputs: float32 (W, C), by the cut model's head on those features, run by TensorFlow.
        layer_outputs: float32 (W, C), by the model's own Keras layers, each crop met once; `cut_outputs` where
            there is nothing to do once.
        whole_outputs: float32 (L, C), by the model as it was loaded, called on the windows that `whole` lists.
        whole: numbers of L windows.
        golden: a few of the crops with the same.
        frame_outputs: float32 (W, frames, C), Keras's word on each frame; None where the model gives none.
    """

    windows: NDArray[np.int64]
    features: Floats
    cut_outputs: Floats
    layer_outputs: Floats
    whole_outputs: Floats
    whole: NDArray[np.int64]
    golden: Golden
    frame_outputs: Floats | None = None

    @property
    def outputs(self) -> Floats:
        """Keras's word on every window: the whole model's where it was called, its layers' elsewhere."""
        outputs: Floats = self.layer_outputs.copy()
        outputs[self.whole] = self.whole_outputs
        return outputs


def reference(model: Any, parts: Cut, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> Reference:
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


def compare(bundle: Bundle, truth: Reference, crops: CropSet) -> Mapping[str, Any]:
    """Run the serialised networks as a device does, and hold them against Keras.

    Returns:
        figures, as plain JSON types: differences of the outputs are of probabilities.
    Raises:
        ConversionError: outputs are not finite or no probabilities, or differ by more than the gate allows.
        BundleError, InferenceError: the networks do not fit the spec, or fail.
    """
    if not np.array_equal(truth.windows[: len(crops.windows)], crops.windows):
        raise ConversionError("the source was not run on the windows that it was given")
    expected = truth.outputs
    if not np.isfinite(expected).all():
        raise ConversionError("the source's own outputs are not finite on real face crops")
    with Model(bundle, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as model:
        features = np.concatenate(
            [model.features(normalise(batch, bundle.spec.crop)) for batch in _batches(crops.crops)]
        )
        outputs, each = _by_window(model, features, truth.windows)
        stages = {
            "whole": _apart(truth.layer_outputs[truth.whole], truth.whole_outputs),
            "cut": _apart(truth.cut_outputs, expected),
            "outputs": _apart(outputs, expected),
        }
        if not model.fused:
            head, _ = _by_window(model, truth.features, truth.windows)
            stages |= {"features": _apart(features, truth.features), "head": _apart(head, truth.cut_outputs)}
    if (each is None) != (truth.frame_outputs is None):
        raise ConversionError("only one of the model and its conversion gives outputs of each frame")
    if each is not None and truth.frame_outputs is not None:
        stages["frame_outputs"] = _apart(each, truth.frame_outputs)
    for given in (expected, truth.frame_outputs):
        if given is not None and not are_probabilities(given):
            raise ConversionError(
                f"its outputs are no probabilities ({bundle.spec.activation}) on real face crops: {in_words(given)}; "
                f"end the model in the {bundle.spec.activation} itself"
            )
    fake = fake_scores(expected, bundle.spec)
    figures: dict[str, Any] = {
        "crops": len(crops.crops),
        "crops_are": crops.origin,
        "windows": len(truth.windows),
        "windows_by_whole_model": len(truth.whole),
    }
    for name, difference in stages.items():
        figures[f"{name}_max_diff"] = _rounded(float(difference.max()))
        figures[f"{name}_mean_diff"] = _rounded(float(difference.mean()))
    if "features" in stages:
        figures["features_largest"] = _rounded(float(np.abs(truth.features).max()))
    figures["fake_score_min"], figures["fake_score_max"] = round(float(fake.min()), 4), round(float(fake.max()), 4)
    figures["tolerance"] = GATE
    _gate(stages)
    return figures


def are_probabilities(outputs: Floats) -> bool:
    """Whether outputs (..., C) are of 0..1 and, where C is 2, add up to 1."""
    within = bool(((outputs >= -GATE) & (outputs <= 1 + GATE)).all())
    return within and (outputs.shape[-1] == 1 or bool(np.allclose(outputs.sum(axis=-1), 1, atol=GATE)))


def in_words(outputs: Floats) -> str:
    """The range of outputs (..., C) and, where C is 2, of their sums."""
    said = f"from {outputs.min():.3g} to {outputs.max():.3g}"
    if outputs.shape[-1] == 1:
        return said
    sums = outputs.sum(axis=-1)
    return f"{said}, sums from {sums.min():.3g} to {sums.max():.3g}"


def _apart(found: Floats, wanted: Floats) -> Floats:
    """Differences, number by number; arrays of other shapes have none."""
    if found.shape != wanted.shape:
        raise ConversionError(f"the source gives {wanted.shape} numbers where its conversion gives {found.shape}")
    apart: Floats = np.abs(found - wanted)
    return apart


def golden_windows(crops: int, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which crops are kept, evenly spread, and windows over those that are kept.

    Windows go forwards and backwards; around again where they have more frames.
    """
    chosen: NDArray[np.int64] = np.linspace(0, crops - 1, _GOLDEN_CROPS).round().astype(np.int64)
    if frames == 1:
        return chosen, np.arange(_GOLDEN_CROPS, dtype=np.int64)[:, None]
    steps = np.arange(frames)
    return chosen, (np.stack([steps, -1 - steps]) % _GOLDEN_CROPS).astype(np.int64)


def spread_warning(figures: Mapping[str, Any]) -> str | None:
    """What to say when the scores hardly vary over the crops; None when they do."""
    low, high = figures["fake_score_min"], figures["fake_score_max"]
    if high - low >= _MIN_SPREAD:
        return None
    return (
        f"the fake score only varies from {low} to {high} over these crops, so parity proves little; "
        "give real and fake clips of your own: --calibration PATH"
    )


def _gate(stages: Mapping[str, Floats]) -> None:
    """A difference that is not a number must not pass either."""
    wrong = [
        f"{name}: largest difference {float(difference.max()):.3g}, allowed {GATE:g}"
        for name, difference in stages.items()
        if name != "features" and not float(difference.max()) <= GATE
    ]
    if wrong:
        if "features" in stages:
            wrong.append(f"features: largest difference {float(stages['features'].max()):.3g}")
        raise ConversionError("the converted model does not say what its source says; nothing was written:", wrong)


def _by_cut(parts: Cut, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> tuple[Floats, list[Floats]]:
    """The features, and what the head makes of the windows, by the cut model's own functions."""
    tf = workshop.tensorflow()
    if parts.backbone is None:
        given = normalise(crops, spec).reshape(len(crops), -1)
        features = np.zeros((len(crops), 0), np.float32)
    else:
        batches = (tf.constant(_channels_last(batch, spec)) for batch in _batches(crops))
        features = given = np.concatenate([parts.backbone(batch).numpy() for batch in batches])
    if parts.head is None:
        return features, [features[windows[:, 0]]]
    return features, _joined(parts.head(tf.constant(given[few])) for few in _batches(windows))


def _by_layers(original: Original, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> list[Floats]:
    tf = workshop.tensorflow()
    frames = _joined(original.frames(tf.constant(_channels_last(batch, spec))) for batch in _batches(crops))
    return _joined(original.window([tf.constant(item[few]) for item in frames]) for few in _batches(windows))


def _whole(model: Any, parts: Cut, crops: Pixels, windows: NDArray[np.int64], spec: CropSpec) -> list[Floats]:
    """The model as it was loaded; a clip at a time."""
    tf, flatten = workshop.tensorflow(), workshop.keras().tree.flatten
    if parts.frames == 1:
        inputs = (_channels_last(batch, spec) for batch in _batches(crops[windows[:, 0]]))
    else:
        inputs = (_channels_last(crops[window], spec)[None] for window in windows)
    given = (flatten(model(tf.constant(values), training=False)) for values in inputs)
    return _joined(parts.ending.probabilities(outputs) for outputs in given)


def _joined(batches: Iterable[Sequence[Any]]) -> list[Floats]:
    """The same output of every batch, one after another."""
    return [np.concatenate([item.numpy() for item in items]) for items in zip(*batches, strict=True)]


def _by_window(model: Model, features: Floats, windows: NDArray[np.int64]) -> tuple[Floats, Floats | None]:
    given = [model.clip_and_frame_outputs(features[part]) for part in _batches(windows)]
    each = [frames for _, frames in given if frames is not None]
    return np.concatenate([clip for clip, _ in given]), np.concatenate(each) if each else None


def _whole_windows(windows: NDArray[np.int64], golden: int, spec: CropSpec) -> NDArray[np.int64]:
    """As many windows as the budget allows, evenly spread, and the golden ones, which come last."""
    others = len(windows) - golden
    affordable = min(others, _WHOLE_PIXELS // (windows.shape[1] * spec.size_px**2))
    chosen: NDArray[np.int64] = np.linspace(0, others - 1, affordable).round().astype(np.int64)
    return np.concatenate([chosen, np.arange(others, len(windows))])


def _channels_last(crops: Pixels, spec: CropSpec) -> Floats:
    return np.ascontiguousarray(normalise(crops, spec).transpose(0, 2, 3, 1))


def _batches(items: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def _rounded(value: float) -> float:
    """Two digits: all that means anything in a rounding error."""
    return float(f"{value:.1e}")
