"""All models on all clips of a prepared folder's split, under all conditions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.datasets.entries import SPLITS, Split
from deepfake_edge.training.evaluating.judging import Answer, ClipScore, ask, judge, whole
from deepfake_edge.training.evaluating.predictors import Identity, Predictor
from deepfake_edge.training.evaluating.stress import CLEAN, Condition, show
from deepfake_edge.training.preparing.prepared import RECORD, Prepared, PreparedClip


@dataclass(frozen=True, slots=True)
class Answered:
    """What one model says.

    Attributes:
        identity: the model.
        spec: what it expects, and what its outputs mean.
        answers: its outputs for every clip, in one order, by the name of the condition.
    """

    identity: Identity
    spec: ModelSpec
    answers: Mapping[str, Sequence[Answer]]

    def scores(self, condition: str = CLEAN.name, spec: ModelSpec | None = None) -> tuple[ClipScore, ...]:
        """Each clip's score under a condition; another `spec` judges with its threshold and temperature."""
        return tuple(judge(answer, spec or self.spec) for answer in self.answers[condition])


def clips_of(prepared: Prepared, split: Split) -> tuple[PreparedClip, ...]:
    """The clips of a split. Raises InvalidInput: it has none."""
    clips = prepared.of(split)
    if not clips:
        found = ", ".join(f"{name} {len(prepared.of(name))}" for name in SPLITS)
        raise InvalidInput(
            f"{prepared.folder}: has no clips of the split {split} (it has {found}); name another --split"
        )
    return clips


def ask_all(
    predictors: Sequence[Predictor],
    prepared: Prepared,
    split: Split,
    conditions: Sequence[Condition] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Answered]:
    """Run every model on every clip; a clip's pictures are read once.

    Args:
        predictors: the models.
        prepared: where the clips are.
        split: which of them.
        conditions: what is done to them beside nothing.
        progress: told how many of how many clips are through.
    Raises:
        InvalidInput: there are no such clips.
        SourceError: a picture cannot be read.
        InferenceError: a model failed.
    """
    clips = clips_of(prepared, split)
    found: list[dict[str, list[Answer]]] = [
        {condition.name: [] for condition in (CLEAN, *conditions)} for _ in predictors
    ]
    for done, clip in enumerate(clips, start=1):
        pictures = whole(clip)
        for condition in (CLEAN, *conditions):
            shown = show(pictures, clip, condition)
            for predictor, answers in zip(predictors, found, strict=True):
                answers[condition.name].append(ask(predictor, clip, shown, prepared.settings.spacing))
        if progress is not None:
            progress(done, len(clips))
    return [Answered(item.identity, item.spec, answers) for item, answers in zip(predictors, found, strict=True)]


def left_out(prepared: Prepared, split: Split) -> list[dict[str, str]]:
    """The clips of a split that have no face pictures, and why, as plain JSON types."""
    return [
        {"clip": clip.entry.source, "label": clip.entry.label, "reason": clip.reason}
        for clip in prepared.left_out
        if clip.entry.split == split
    ]


def records_sha256(prepared: Prepared, split: Split) -> str:
    """A digest of what is known of a split's clips: two evaluations with the same one saw the same clips."""
    digest = hashlib.sha256()
    for clip in clips_of(prepared, split):
        digest.update(f"{clip.id}\n".encode() + (clip.folder / RECORD).read_bytes())
    return digest.hexdigest()
