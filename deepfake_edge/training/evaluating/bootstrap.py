"""How far figures would move with other videos of the same kind: the bootstrap (Efron, 1979), over whole videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.evaluating.metrics import METRICS, Doubles, Flags, Judged, areas, measure

LEAST_RESAMPLES = 1000
LEVEL = 0.95
# With fewer videos of a label, what is drawn says nothing of other videos.
LEAST_VIDEOS = 5
# Of all resamples: a figure that most of the others have not got has no interval.
_DECIDED_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Resampling:
    """How often videos are drawn anew, and from which seed.

    Raises:
        InvalidInput: fewer than LEAST_RESAMPLES, or a seed below 0.
    """

    count: int = LEAST_RESAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < LEAST_RESAMPLES:
            raise InvalidInput(f"resamples: wanted at least {LEAST_RESAMPLES}, got {self.count}")
        if self.seed < 0:
            raise InvalidInput(f"seed: wanted at least 0, got {self.seed}")


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        value: None where there is none.
        low: lower end of its 95 % interval; None where there is none.
        high: the upper end.
        reason: why there is no value, or no interval; else None.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def figures(judged: Judged, videos: NDArray[np.int64], threshold: float, how: Resampling) -> dict[str, Figure]:
    """Every figure of METRICS with its percentile interval.

    Videos are drawn with replacement, as many real and as many fake ones as there are; a video's windows stay
    together.

    Args:
        judged: one score a video or a window.
        videos: int64 (N,), the number of the video, 0 or more, that each score belongs to.
        threshold: a score at or above it is called fake.
        how: the resampling.
    """
    values, reasons = measure(judged, threshold)
    if short := too_few(judged.fake, videos):
        return {name: Figure(values[name], reason=reasons.get(name, short)) for name in METRICS}
    drawn = [measure(_weighted(judged, times[videos]), threshold)[0] for times in draws(judged.fake, videos, how)]
    return {name: _figure(values[name], reasons.get(name), [each[name] for each in drawn]) for name in METRICS}


def area(judged: Judged, videos: NDArray[np.int64], how: Resampling) -> Figure:
    """The area under the ROC curve, of the same resamples as that of `figures`; one score a video."""
    values, reasons = measure(judged, threshold=0.5)
    if values["auc"] is None or (short := too_few(judged.fake, videos)):
        return Figure(values["auc"], reason=reasons.get("auc") or short)
    return _between(values["auc"], areas(judged, _times(judged.fake, videos, how)))


def area_change(before: Judged, after: Judged, videos: NDArray[np.int64], how: Resampling) -> Figure:
    """How far the area under the ROC curve moves: of each resample once before, and once after.

    Args:
        before: one score a video.
        after: other scores of the same videos, in the same order.
        videos: their numbers.
        how: the resampling.
    """
    (first, reasons), (second, _) = measure(before, threshold=0.5), measure(after, threshold=0.5)
    if first["auc"] is None or second["auc"] is None:
        return Figure(None, reason=reasons["auc"])
    change = second["auc"] - first["auc"]
    if short := too_few(before.fake, videos):
        return Figure(change, reason=short)
    times = _times(before.fake, videos, how)
    return _between(change, areas(after, times) - areas(before, times))


def too_few(fake: Flags, videos: NDArray[np.int64]) -> str | None:
    """Why there is no interval: a label has fewer than LEAST_VIDEOS; else None."""
    strata = zip(("real", "fake"), _strata(fake, videos), strict=True)
    small = [name for name, members in strata if len(members) < LEAST_VIDEOS]
    return f"no interval: fewer than {LEAST_VIDEOS} {' and '.join(small)} videos" if small else None


def draws(fake: Flags, videos: NDArray[np.int64], how: Resampling) -> Iterator[Doubles]:
    """How often each video is drawn, a resample at a time: float64, by its number."""
    random, strata = np.random.default_rng(how.seed), _strata(fake, videos)
    for _ in range(how.count):
        times = np.zeros(int(videos.max()) + 1)
        for members in strata:
            times[members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)))
        yield times


def interval(drawn: Doubles | list[float]) -> tuple[float, float]:
    """The ends of the percentile interval of what the resamples have."""
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)


def _strata(fake: Flags, videos: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the real videos and of the fake ones."""
    return np.unique(videos[~fake]), np.unique(videos[fake])


def _times(fake: Flags, videos: NDArray[np.int64], how: Resampling) -> Doubles:
    """How often each score is drawn: (resamples, scores)."""
    return np.stack([times[videos] for times in draws(fake, videos, how)])


def _weighted(judged: Judged, times: Doubles) -> Judged:
    weights = judged.weights * times
    kept = weights > 0
    return Judged(judged.fake[kept], judged.scores[kept], weights[kept])


def _figure(value: float | None, reason: str | None, drawn: list[float | None]) -> Figure:
    decided = [item for item in drawn if item is not None]
    if value is None:
        return Figure(None, reason=reason)
    if len(decided) < _DECIDED_SHARE * len(drawn):
        return Figure(value, reason=f"no interval: {len(drawn) - len(decided)} of {len(drawn)} resamples have no value")
    return _between(value, decided)


def _between(value: float, drawn: Doubles | list[float]) -> Figure:
    return Figure(value, *interval(drawn))
