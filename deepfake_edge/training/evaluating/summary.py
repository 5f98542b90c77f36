"""From scores to figures: over everything, a data set at a time, and a manipulation at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.training.evaluating.bootstrap import Figure, Resampling, figures
from deepfake_edge.training.evaluating.judging import ClipScore
from deepfake_edge.training.evaluating.metrics import Confusion, Judged, confusion

Unit: TypeAlias = Literal["videos", "windows"]


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the clips.

    Attributes:
        dataset: the data set that they are all of; None: of all.
        manipulation: of all its fakes; its real clips are those of the data set. None: whatever it is.
        scores: of the clips.
    """

    dataset: str | None
    manipulation: str | None
    scores: tuple[ClipScore, ...]

    @property
    def title(self) -> str:
        """For tables."""
        return " ".join(filter(None, (self.dataset, self.manipulation))) or "all"


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a group.

    Attributes:
        group: whose.
        unit: what is counted.
        real: how many are real.
        fake: how many are fake.
        confusion: how often which truth met which label; None without any.
        figures: by the names of `metrics.METRICS`.
    """

    group: Group
    unit: Unit
    real: int
    fake: int
    confusion: Confusion | None
    figures: dict[str, Figure]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "dataset": self.group.dataset,
            "manipulation": self.group.manipulation,
            "unit": self.unit,
            "real": self.real,
            "fake": self.fake,
            "confusion": None if self.confusion is None else asdict(self.confusion),
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
        }


def summarise(scores: Sequence[ClipScore], threshold: float, how: Resampling) -> list[Summary]:
    """Figures of all clips by video and by window, and of each data set and manipulation by video.

    Clips without a verdict have no part in any.
    """
    first, *others = groups(scores)
    units: tuple[Unit, ...] = ("videos", "windows")
    found = [summary(first, unit, threshold, how) for unit in units]
    return found + [summary(group, "videos", threshold, how) for group in others]


def groups(scores: Sequence[ClipScore]) -> Iterator[Group]:
    """All; each data set where there are several; each manipulation, where they are named."""
    yield Group(None, None, tuple(scores))
    datasets = sorted({score.dataset for score in scores})
    for dataset in datasets:
        own = tuple(score for score in scores if score.dataset == dataset)
        if len(datasets) > 1:
            yield Group(dataset, None, own)
        for name in sorted({score.manipulation for score in own if score.label == "fake" and score.manipulation}):
            kept = (score for score in own if score.label == "real" or score.manipulation == name)
            yield Group(dataset, name, tuple(kept))


def summary(group: Group, unit: Unit, threshold: float, how: Resampling) -> Summary:
    """The figures of one group."""
    judged, videos = judged_of(group.scores, unit)
    fakes = int(judged.fake.sum())
    return Summary(
        group,
        unit,
        len(videos) - fakes,
        fakes,
        confusion(judged, threshold) if len(videos) else None,
        figures(judged, videos, threshold, how),
    )


def judged_of(scores: Sequence[ClipScore], unit: Unit) -> tuple[Judged, NDArray[np.int64]]:
    """Scores of the clips with a verdict, with their truth, and the number of the video of each."""
    rows = [
        (number, score.label == "fake", value)
        for number, score in enumerate(scores)
        if score.fake_score is not None
        for value in (score.windows if unit == "windows" else (score.fake_score,))
    ]
    videos, fake, values = zip(*rows, strict=True) if rows else ((), (), ())
    judged = Judged.once(np.asarray(fake, np.bool_), np.asarray(values, np.float64))
    return judged, np.asarray(videos, np.int64)
