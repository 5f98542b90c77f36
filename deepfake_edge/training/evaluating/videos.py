"""A bundle on raw videos, through the whole detector: face finder, tracker, windows, verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deepfake_edge.detector import Detector
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.training.datasets.entries import ClipEntry, Dataset, Split
from deepfake_edge.training.evaluating.judging import ClipScore
from deepfake_edge.training.evaluating.predictors import Identity
from deepfake_edge.training.evaluating.report import Evaluated


def entries_of(dataset: Dataset, split: Split) -> tuple[ClipEntry, ...]:
    """The clips of a split. Raises InvalidInput: it has none."""
    entries = tuple(entry for entry in dataset.entries if entry.split == split)
    if not entries:
        raise InvalidInput(f"{dataset.folder}: no clip of the split {split}; name another --split")
    return entries


def evaluate_videos(
    detector: Detector,
    file: Path,
    dataset: Dataset,
    split: Split,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluated:
    """The verdict on every clip of a split; one that cannot be read has none.

    Args:
        detector: one bundle at work.
        file: the bundle, as the user named it.
        dataset: the clips.
        split: which of them.
        progress: told how many of how many clips are through.
    Raises:
        InvalidInput: there is no such clip.
        InferenceError: the model failed.
    """
    entries = entries_of(dataset, split)
    scores = []
    for done, entry in enumerate(entries, start=1):
        scores.append(_watch(detector, entry, dataset.source(entry)))
        if progress is not None:
            progress(done, len(entries))
    title = f"{file.name} {detector.precision}"
    identity = Identity(title, str(file), detector.sha256, detector.precision, detector.runtime.name)
    return Evaluated(identity, detector.spec, tuple(scores))


def _watch(detector: Detector, entry: ClipEntry, name: str) -> ClipScore:
    try:
        verdict = detector.detect(entry.path)
    except SourceError as error:
        return ClipScore(name, entry.label, entry.dataset, entry.manipulation, None, str(error), ())
    return ClipScore(
        name,
        entry.label,
        entry.dataset,
        entry.manipulation,
        verdict.fake_score,
        None if verdict.fake_score is not None else verdict.reason,
        tuple(score.fake_score for track in verdict.tracks for score in track.scores if track.fake_score is not None),
    )
