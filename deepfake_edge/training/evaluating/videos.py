"""A bundle on raw videos, through the whole detector: face finder, tracker, windows, verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from deepfake_edge.bundle import read_bundle
from deepfake_edge.detector import Detector
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.training.datasets.entries import ClipEntry, Dataset, Split
from deepfake_edge.training.datasets.reading import ReadOptions, read_dataset, read_whole
from deepfake_edge.training.evaluating.judging import ClipScore
from deepfake_edge.training.evaluating.predictors import Identity, source_of
from deepfake_edge.training.evaluating.report import Evaluated


def read_videos(folder: Path, split: Split | Literal["all"], options: ReadOptions) -> Dataset:
    """The clips of a split, or all, whatever their split.

    Raises:
        InvalidInput: there is none, or the folder cannot be read as a data set.
    """
    if split == "all":
        return read_whole(folder, options.kind, options.compression)
    dataset = read_dataset(folder, options)
    entries = tuple(entry for entry in dataset.entries if entry.split == split)
    if not entries:
        raise InvalidInput(f"{folder}: no clip of the split {split}; name another --split, or all")
    return replace(dataset, entries=entries)


def evaluate_videos(
    detector: Detector,
    file: Path,
    title: str,
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluated:
    """The verdict on every clip; one that cannot be read has none.

    Args:
        detector: one bundle at work.
        file: the bundle, as the user named it.
        title: unique among the models of one evaluation, but for the precision.
        dataset: the clips.
        progress: told how many of how many clips are through.
    Raises:
        InferenceError: the model failed.
    """
    scores = []
    for done, entry in enumerate(dataset.entries, start=1):
        scores.append(_watch(detector, entry, dataset.path(entry)))
        if progress is not None:
            progress(done, len(dataset.entries))
    precision = detector.precision
    source_sha256 = source_of(read_bundle(file))
    identity = Identity(
        f"{title} {precision}", str(file), detector.sha256, precision, detector.runtime.name, source_sha256
    )
    return Evaluated(identity, detector.spec, tuple(scores))


def _watch(detector: Detector, entry: ClipEntry, path: Path) -> ClipScore:
    try:
        verdict = detector.detect(path)
    except SourceError as error:
        return ClipScore(entry.source, entry.label, entry.dataset, entry.manipulation, None, _reason(error, path), ())
    return ClipScore(
        entry.source,
        entry.label,
        entry.dataset,
        entry.manipulation,
        verdict.fake_score,
        None if verdict.fake_score is not None else verdict.reason,
        tuple(score.fake_score for track in verdict.tracks for score in track.scores if track.fake_score is not None),
    )


def _reason(error: SourceError, path: Path) -> str:
    """What is wrong with a clip, without its place: its name stands beside it."""
    return str(error).removeprefix(f"{path}: ")
