"""What each condition of a stress test does to a model's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from deepfake_edge.training.evaluating.bootstrap import Figure, Resampling, area, area_change
from deepfake_edge.training.evaluating.comparing import Difference, compare
from deepfake_edge.training.evaluating.judging import ClipScore
from deepfake_edge.training.evaluating.stress import CLEAN, Condition
from deepfake_edge.training.evaluating.summary import judged_of


@dataclass(frozen=True, slots=True)
class Stressed:
    """A model's figures under a condition.

    Attributes:
        condition: what happened to the pictures.
        real: real videos with a verdict.
        fake: fakes with a verdict.
        auc: the area under the ROC curve over them.
        auc_change: against the clean run, over the videos with a verdict in both; None of the clean run itself.
        difference: of the scores against the clean run's.
    """

    condition: Condition
    real: int
    fake: int
    auc: Figure
    auc_change: Figure | None
    difference: Difference

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "condition": self.condition.name,
            "words": self.condition.words,
            "real": self.real,
            "fake": self.fake,
            "auc": asdict(self.auc),
            "auc_change": None if self.auc_change is None else asdict(self.auc_change),
            **asdict(self.difference),
        }


def stressed(
    clean: Sequence[ClipScore],
    under: Mapping[str, Sequence[ClipScore]],
    conditions: Sequence[Condition],
    threshold: float,
    how: Resampling,
) -> list[Stressed]:
    """A model's figures without any stress, and under each condition.

    Args:
        clean: its scores without any.
        under: its scores of the same clips, in the same order, by the name of the condition.
        conditions: none: there was no stress test, and nothing is said.
        threshold: a score at or above it is called fake.
        how: the resampling behind the intervals.
    """
    runs = [(CLEAN, clean), *((condition, under[condition.name]) for condition in conditions)] if conditions else []
    return [_stressed(condition, clean, scores, threshold, how) for condition, scores in runs]


def _stressed(
    condition: Condition, clean: Sequence[ClipScore], scores: Sequence[ClipScore], threshold: float, how: Resampling
) -> Stressed:
    judged, videos = judged_of(scores, "videos")
    fakes = int(judged.fake.sum())
    return Stressed(
        condition,
        len(videos) - fakes,
        fakes,
        area(judged, videos, how),
        None if condition is CLEAN else _change(clean, scores, how),
        compare(clean, scores, (threshold, threshold)),
    )


def _change(clean: Sequence[ClipScore], scores: Sequence[ClipScore], how: Resampling) -> Figure:
    pairs = zip(clean, scores, strict=True)
    both = [(one, other) for one, other in pairs if None not in (one.fake_score, other.fake_score)]
    before, after = (judged_of([pair[place] for pair in both], "videos")[0] for place in (0, 1))
    return area_change(before, after, np.arange(len(both)), how)
