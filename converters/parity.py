"""Does a converted network say what its source says? On real crops, stage by stage, before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle
from deepfake_edge.converters.reference import Reference, batches
from deepfake_edge.data import Floats, Pixels
from deepfake_edge.errors import ConversionError
from deepfake_edge.golden import TOLERANCE
from deepfake_edge.model import Model, fake_scores, normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training.face_crops import CropSet

GATE = TOLERANCE["fp32"]
# Below this spread of the fake scores a network could ignore its input and still agree.
_MIN_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model's networks make of crops and windows.

    Attributes:
        features: float32 (N, F), of each crop.
        outputs: float32 (W, C), of each window.
        frame_outputs: float32 (W, frames, C), of each frame of each window; None where the model gives none.
    """

    features: Floats
    outputs: Floats
    frame_outputs: Floats | None


def compare(bundle: Bundle, truth: Reference, crops: CropSet) -> Mapping[str, Any]:
    """Run the serialised fp32 networks as a device does, and hold them against the source.

    Returns:
        figures, as plain JSON types: differences of the outputs are of probabilities.
    Raises:
        ConversionError: outputs are not finite or no probabilities, or differ by more than the gate allows.
        BundleError, InferenceError: the networks do not fit the spec, or fail.
    """
    if not np.array_equal(truth.windows[: len(crops.windows)], crops.windows):
        raise ConversionError("the source was not run on the windows that it was given")
    _check_source(truth, bundle)
    with Model(bundle, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as model:
        found = run(model, crops.crops, truth.windows)
        stages = {
            "whole": apart(truth.layer_outputs[truth.whole], truth.whole_outputs),
            "cut": apart(truth.cut_outputs, truth.outputs),
            **differences(found, truth, model.fused),
        }
        if not model.fused:
            outputs, _ = by_window(model, truth.features, truth.windows)
            stages["head"] = apart(outputs, truth.cut_outputs)
    fake = fake_scores(truth.outputs, bundle.spec)
    figures = {
        "crops": len(crops.crops),
        "crops_are": crops.origin,
        "windows": len(truth.windows),
        "windows_by_whole_model": len(truth.whole),
        **in_short(in_figures(stages)),
    }
    if "features" in stages:
        figures["features_largest"] = rounded(float(np.abs(truth.features).max()))
    figures["fake_score_min"], figures["fake_score_max"] = round(float(fake.min()), 4), round(float(fake.max()), 4)
    figures["tolerance"] = GATE
    _gate(stages)
    return figures


def run(model: Model, crops: Pixels, windows: NDArray[np.int64]) -> Answers:
    """A model's answers to uint8 (N, S, S, 3) crops and (W, frames) windows of them, each crop met once."""
    features = np.concatenate([model.features(normalise(batch, model.spec.crop)) for batch in batches(crops)])
    return Answers(features, *by_window(model, features, windows))


def by_window(model: Model, features: Floats, windows: NDArray[np.int64]) -> tuple[Floats, Floats | None]:
    """The head's outputs, (W, C) and (W, frames, C) or None, for windows of features."""
    given = [model.clip_and_frame_outputs(features[part]) for part in batches(windows)]
    each = [frames for _, frames in given if frames is not None]
    return np.concatenate([clip for clip, _ in given]), np.concatenate(each) if each else None


def differences(found: Answers, truth: Reference, fused: bool) -> dict[str, Floats]:
    """How far a conversion's answers lie from the source's, number by number, at every stage there is.

    Raises:
        ConversionError: only one of the two gives frame outputs, or they are of other shapes.
    """
    stages = {"outputs": apart(found.outputs, truth.outputs)}
    if not fused:
        stages["features"] = apart(found.features, truth.features)
    if (found.frame_outputs is None) != (truth.frame_outputs is None):
        raise ConversionError("only one of the model and its conversion gives outputs of each frame")
    if found.frame_outputs is not None and truth.frame_outputs is not None:
        stages["frame_outputs"] = apart(found.frame_outputs, truth.frame_outputs)
    return stages


def apart(found: Floats, wanted: Floats) -> Floats:
    """Differences, number by number; arrays of other shapes have none. Raises ConversionError."""
    if found.shape != wanted.shape:
        raise ConversionError(f"the source gives {wanted.shape} numbers where its conversion gives {found.shape}")
    difference: Floats = np.abs(found - wanted)
    return difference


def in_figures(stages: Mapping[str, Floats]) -> dict[str, float]:
    """The largest and the mean difference of each stage."""
    figures = {}
    for name, difference in stages.items():
        figures[f"{name}_max_diff"] = float(difference.max())
        figures[f"{name}_mean_diff"] = float(difference.mean())
    return figures


def in_short(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as they are shown and kept: differences of two digits."""
    return {name: rounded(value) if name.endswith("_diff") else value for name, value in figures.items()}


def rounded(value: float) -> float:
    """Two digits: all that means anything in a rounding error."""
    return float(f"{value:.1e}")


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


def spread_warning(figures: Mapping[str, Any]) -> str | None:
    """What to say when the scores hardly vary over the crops; None when they do."""
    low, high = figures["fake_score_min"], figures["fake_score_max"]
    if high - low >= _MIN_SPREAD:
        return None
    return (
        f"the fake score only varies from {low} to {high} over these crops, so parity proves little; "
        "give real and fake clips of your own: --calibration PATH"
    )


def _check_source(truth: Reference, bundle: Bundle) -> None:
    """What the source says is numbers, and probabilities."""
    given = [truth.outputs, *([] if truth.frame_outputs is None else [truth.frame_outputs])]
    if not all(np.isfinite(outputs).all() for outputs in given):
        raise ConversionError("the source's own outputs are not finite on real face crops")
    activation = bundle.spec.activation
    for outputs in given:
        if not are_probabilities(outputs):
            raise ConversionError(
                f"its outputs are no probabilities ({activation}) on real face crops: {in_words(outputs)}; "
                f"end the model in the {activation} itself"
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
