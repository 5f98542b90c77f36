"""How far figures would move with other videos of the same kind: the bootstrap (Efron, 1979), over whole videos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.evaluating.metrics import METRICS, Flags, Judged, measure

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
    strata = _strata(judged.fake, videos)
    small = [name for name, members in zip(("real", "fake"), strata, strict=True) if len(members) < LEAST_VIDEOS]
    if small:
        short = f"no interval: fewer than {LEAST_VIDEOS} {' and '.join(small)} videos"
        return {name: Figure(values[name], reason=reasons.get(name, short)) for name in METRICS}
    random = np.random.default_rng(how.seed)
    draws = [measure(_drawn(judged, videos, strata, random), threshold)[0] for _ in range(how.count)]
    return {name: _figure(values[name], reasons.get(name), [draw[name] for draw in draws]) for name in METRICS}


def _strata(fake: Flags, videos: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the real videos and of the fake ones."""
    return np.unique(videos[~fake]), np.unique(videos[fake])


def _drawn(
    judged: Judged,
    videos: NDArray[np.int64],
    strata: tuple[NDArray[np.int64], NDArray[np.int64]],
    random: np.random.Generator,
) -> Judged:
    times = np.zeros(int(videos.max()) + 1)
    for members in strata:
        times[members] = random.multinomial(len(members), np.full(len(members), 1 / len(members)))
    weights = judged.weights * times[videos]
    kept = weights > 0
    return Judged(judged.fake[kept], judged.scores[kept], weights[kept])


def _figure(value: float | None, reason: str | None, drawn: list[float | None]) -> Figure:
    decided = [item for item in drawn if item is not None]
    if value is None:
        return Figure(None, reason=reason)
    if len(decided) < _DECIDED_SHARE * len(drawn):
        return Figure(value, reason=f"no interval: {len(drawn) - len(decided)} of {len(drawn)} resamples have no value")
    low, high = np.quantile(decided, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Figure(value, float(low), float(high))
