"""Two sets of scores of the same clips: how far apart they are, and how many labels differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfake_edge.training.evaluating.judging import ClipScore


@dataclass(frozen=True, slots=True)
class Difference:
    """How one set of scores differs from another.

    Attributes:
        videos: clips with a verdict in both.
        lost: clips with a verdict in the first alone.
        gained: clips with a verdict in the second alone.
        flips: clips with another label.
        max_difference: of a clip's score; None without clips in common.
        mean_difference: of the clips' scores.
        windows_max_difference: of a window's score; None where the windows are not the same.
    """

    videos: int
    lost: int
    gained: int
    flips: int
    max_difference: float | None
    mean_difference: float | None
    windows_max_difference: float | None


def compare(first: Sequence[ClipScore], second: Sequence[ClipScore], thresholds: tuple[float, float]) -> Difference:
    """Compare scores of the same clips, in the same order; each set is labelled at its own threshold."""
    pairs = [(one.fake_score, other.fake_score) for one, other in zip(first, second, strict=True)]
    both = np.asarray([pair for pair in pairs if None not in pair], np.float64).reshape(-1, 2)
    apart = np.abs(both[:, 0] - both[:, 1])
    labels = both >= np.asarray(thresholds)
    return Difference(
        videos=len(both),
        lost=sum(one is not None and other is None for one, other in pairs),
        gained=sum(one is None and other is not None for one, other in pairs),
        flips=int((labels[:, 0] != labels[:, 1]).sum()),
        max_difference=float(apart.max()) if len(apart) else None,
        mean_difference=float(apart.mean()) if len(apart) else None,
        windows_max_difference=_of_windows(first, second),
    )


def _of_windows(first: Sequence[ClipScore], second: Sequence[ClipScore]) -> float | None:
    if any(len(one.windows) != len(other.windows) for one, other in zip(first, second, strict=True)):
        return None
    apart = [
        abs(left - right)
        for one, other in zip(first, second, strict=True)
        for left, right in zip(one.windows, other.windows, strict=True)
    ]
    return max(apart, default=None)
