"""What a model says of a prepared clip, by the rules that a detector goes by.

Windows are cut by `windows.WindowRing` and joined into a verdict by `verdict.Ledger`, as on a device. Face pictures
that are spread evenly over a clip may lie further apart than a clip model's crops; it is then shown them as if they
followed each other at its rate, which is what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.containers import IMAGE_SUFFIXES
from deepfake_edge.data import Face, Floats, Pixels, Score, Track
from deepfake_edge.model import fake_scores
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training.datasets.entries import TrueLabel
from deepfake_edge.training.evaluating.predictors import Predictor
from deepfake_edge.training.preparing.prepared import PreparedClip
from deepfake_edge.training.preparing.settings import Spacing
from deepfake_edge.verdict import Ledger, Reading
from deepfake_edge.windows import WindowRing

_TRACK = 1


@dataclass(frozen=True, slots=True)
class Shown:
    """Face pictures of a clip as a model is shown them, in the order of time.

    Attributes:
        pictures: uint8 (H, W, 3) each, BGR.
        places: int64 (N,), which of the clip's pictures they are, for times and boxes.
    """

    pictures: Sequence[Pixels]
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClipWindows:
    """A clip's windows.

    Attributes:
        crops: int64 (W, frames), which of the shown pictures make up each window.
        start_s: float64 (W,), time of the first.
        end_s: float64 (W,), time of the last.
    """

    crops: NDArray[np.int64]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ClipScore:
    """What a model says of one clip.

    Attributes:
        id: the clip's.
        label: the truth.
        dataset: the data set's name.
        manipulation: how a fake was made; None where it is real or not said.
        fake_score: 0..1, by the verdict's rule; None where there is no verdict.
        reason: why there is none; else None.
        windows: the score of each window.
    """

    id: str
    label: TrueLabel
    dataset: str
    manipulation: str | None
    fake_score: float | None
    reason: str | None
    windows: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's own outputs for a clip's windows: float32 (W, C), before any temperature."""

    clip: PreparedClip
    shown: NDArray[np.int64]
    windows: ClipWindows
    outputs: Floats


def whole(clip: PreparedClip) -> Shown:
    """Every face picture of a clip, as it is. Raises SourceError: one cannot be read."""
    return Shown(clip.pictures(), np.arange(len(clip.times_s)))


def ask(predictor: Predictor, clip: PreparedClip, shown: Shown, spacing: Spacing) -> Answer:
    """Run a model on a clip's windows.

    Args:
        predictor: the model.
        clip: whose times and boxes count.
        shown: its pictures.
        spacing: of the prepared folder.
    Raises:
        InferenceError: the model failed.
    """
    spec = predictor.spec
    windows = cut_windows(clip, shown.places, spec.clip, spacing)
    if not len(windows.crops):
        return Answer(clip, shown.places, windows, np.empty((0, len(spec.classes)), np.float32))
    crops = np.concatenate(
        [_crop(picture, clip, place, spec.crop) for picture, place in zip(shown.pictures, shown.places, strict=True)]
    )
    return Answer(clip, shown.places, windows, predictor.outputs(crops, windows.crops))


def judge(answer: Answer, spec: ModelSpec) -> ClipScore:
    """Turn outputs into the clip's score, with the threshold and temperature of a spec."""
    clip, entry, windows = answer.clip, answer.clip.entry, answer.windows
    scores = fake_scores(answer.outputs, spec)
    ledger = Ledger(spec.threshold, spec.clip)
    for place in answer.shown:
        ledger.saw(_track(clip, int(place)), clip.times_s[place])
    for start_s, end_s, score in zip(windows.start_s, windows.end_s, scores, strict=True):
        ledger.add(Score(_TRACK, float(start_s), float(end_s), float(score)))
    duration_s = clip.times_s[-1] - clip.times_s[0]
    still = PurePath(entry.source).suffix.lower() in IMAGE_SUFFIXES
    verdict = ledger.verdict(Reading(len(answer.shown), len(answer.shown), duration_s, still=still))
    reason = None if verdict.fake_score is not None else verdict.reason
    return ClipScore(
        clip.id, entry.label, entry.dataset, entry.manipulation, verdict.fake_score, reason, tuple(scores.tolist())
    )


def cut_windows(clip: PreparedClip, places: NDArray[np.int64], spec: ClipSpec, spacing: Spacing) -> ClipWindows:
    """The windows that a detector would make of some of a clip's pictures.

    Args:
        clip: whose times and missed faces count.
        places: int64 (N,), the pictures, in the order of time.
        spec: how the model's windows are sampled.
        spacing: of the prepared folder.
    """
    # A crop's number stands for its features.
    ring = WindowRing(spec, 1)
    times_s = _times_s(clip, spec, spacing)
    found: list[tuple[NDArray[np.int64], float, float]] = []
    for number, place in enumerate(places):
        time_s = times_s[place]
        bridged = not clip.seen[place]
        if not ring.wants(time_s) or (bridged and spec.frames == 1):
            continue
        ring.push(time_s, np.asarray([number], np.float32), seen=not bridged)
        window = None if bridged else ring.due()
        if window is not None:
            found.append((window.features[:, 0].astype(np.int64), window.start_s, window.end_s))
    if not found:
        return ClipWindows(np.empty((0, spec.frames), np.int64), np.empty(0), np.empty(0))
    crops, starts, ends = zip(*found, strict=True)
    return ClipWindows(np.stack(crops), np.asarray(starts), np.asarray(ends))


def _times_s(clip: PreparedClip, spec: ClipSpec, spacing: Spacing) -> Sequence[float]:
    times_s = clip.times_s
    if spacing == "consecutive" or spec.sample_fps is None or len(times_s) < 2:
        return times_s
    period_s = 1 / spec.sample_fps
    apart = float(np.median(np.diff(times_s))) > period_s
    return [place * period_s for place in range(len(times_s))] if apart else times_s


def _track(clip: PreparedClip, place: int) -> Track:
    return Track(_TRACK, Face(clip.boxes[place], 1.0), place, seen=clip.seen[place])


def _crop(picture: Pixels, clip: PreparedClip, place: int, spec: CropSpec) -> Floats:
    return crop_batch(picture, np.asarray([clip.boxes[place]], np.float32), spec)
