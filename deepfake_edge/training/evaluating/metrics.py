"""Figures of a binary classifier whose positive class is *fake*, each with the reason where there is none.

Curves, the area under them and the log-loss are scikit-learn's; the rest is worked out of counts and of the curves'
points, because a bootstrap wants it a thousand times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.optional import require

Doubles: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

METRICS = ("accuracy", "precision", "recall", "f1", "auc", "eer", "average_precision", "ece")
ECE_BINS = 15


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores with their truth, one a video or one a window.

    Attributes:
        fake: bool (N,), the truth.
        scores: float64 (N,), 0 real .. 1 fake.
        weights: float64 (N,), from 0; how often each one counts.
    """

    fake: Flags
    scores: Doubles
    weights: Doubles

    @property
    def share_fake(self) -> float:
        """Of all scores, in weights; there is one at least."""
        return float(np.average(self.fake, weights=self.weights))

    @classmethod
    def once(cls, fake: Flags, scores: Doubles) -> Judged:
        """Each counts once."""
        return cls(fake, scores, np.ones(len(scores)))


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often which truth met which label, in weights.

    Attributes:
        true_real: real, and called real.
        false_fake: real, and called fake.
        false_real: fake, and called real.
        true_fake: fake, and called fake.
    """

    true_real: float
    false_fake: float
    false_real: float
    true_fake: float


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram.

    Attributes:
        count: scores in it, in weights.
        mean_score: their mean.
        share_fake: how many of them are fakes, 0..1.
    """

    count: float
    mean_score: float
    share_fake: float


def measure(judged: Judged, threshold: float) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every figure of METRICS at a threshold.

    Args:
        judged: what is to be measured.
        threshold: a score at or above it is called fake.
    Returns:
        the figures, None where there is none, and the reasons of those.
    """
    lacking = _lacking(judged)
    found: dict[str, float | None] = dict.fromkeys(METRICS)
    reasons = dict.fromkeys(METRICS, lacking or "")
    if judged.weights.sum() > 0:
        counts = confusion(judged, threshold)
        found |= _of_counts(counts)
        found["ece"] = calibration_error(judged)
        reasons["precision"] = "nothing is called fake"
        reasons["recall"] = "there are no fakes"
        reasons["f1"] = "there are no fakes, and nothing is called fake"
    if lacking is None:
        found |= _of_ranks(judged)
    return found, {name: reasons[name] for name in METRICS if found[name] is None}


def confusion(judged: Judged, threshold: float) -> Confusion:
    """How often which truth meets which label."""
    called = judged.scores >= threshold
    cells = np.bincount(2 * judged.fake + called, judged.weights, minlength=4)
    return Confusion(*(float(cell) for cell in cells))


def roc(judged: Judged) -> tuple[Doubles, Doubles]:
    """The receiver operating characteristic: false positive rates and true positive rates, from (0, 0) to (1, 1)."""
    metrics = require("sklearn.metrics", extra="train")
    rates = metrics.roc_curve(judged.fake, judged.scores, sample_weight=judged.weights, drop_intermediate=False)
    return rates[0], rates[1]


def areas(judged: Judged, weights: Doubles) -> Doubles:
    """The area under the ROC curve, once for each of many weightings: the Mann-Whitney statistic (Bamber, 1975).

    Args:
        judged: truths and scores; the weights in it do not count.
        weights: (R, N), from 0; in each row some real ones and some fakes have more than 0.
    Returns:
        (R,), 0..1.
    """
    order = np.argsort(judged.scores, kind="stable")
    _, starts = np.unique(judged.scores[order], return_index=True)
    fake, real = (
        np.add.reduceat(weights[:, order] * flags[order], starts, axis=1) for flags in (judged.fake, ~judged.fake)
    )
    below = np.cumsum(real, axis=1) - real / 2
    return np.asarray((fake * below).sum(axis=1) / (fake.sum(axis=1) * real.sum(axis=1)))


def precision_recall(judged: Judged) -> tuple[Doubles, Doubles]:
    """Precisions and recalls, from every clip called fake to none."""
    metrics = require("sklearn.metrics", extra="train")
    curve = metrics.precision_recall_curve(judged.fake, judged.scores, sample_weight=judged.weights)
    return curve[0], curve[1]


def equal_error_rate(false_positives: Doubles, true_positives: Doubles) -> float:
    """Where as large a share of the real is called fake as of the fakes is called real, on the ROC's straight lines.

    Args:
        false_positives: (K,), rising from 0 to 1.
        true_positives: (K,), likewise.
    """
    # From -1 at (0, 0) to 1 at (1, 1), and never falling.
    excess = false_positives + true_positives - 1.0
    after = int(np.argmax(excess >= 0.0))
    before = after - 1
    step = -excess[before] / (excess[after] - excess[before])
    return float(false_positives[before] + step * (false_positives[after] - false_positives[before]))


def average_precision(false_positives: Doubles, true_positives: Doubles, share_fake: float) -> float:
    """The mean of the precisions at each threshold, weighted by how much recall it adds; from the ROC's points.

    Args:
        false_positives: (K,), rising from 0 to 1.
        true_positives: (K,), likewise.
        share_fake: of all scores.
    """
    right, wrong = true_positives[1:] * share_fake, false_positives[1:] * (1.0 - share_fake)
    return float(np.sum(np.diff(true_positives) * right / (right + wrong)))


def reliability(judged: Judged) -> tuple[Bin, ...]:
    """ECE_BINS bins of equal width over the scores 0..1; a score on a border is in the upper one."""
    places = np.minimum((judged.scores * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    counts, scores, fakes = (
        np.bincount(places, judged.weights * values, minlength=ECE_BINS)
        for values in (np.ones(len(places)), judged.scores, judged.fake)
    )
    return tuple(
        Bin(float(count), float(score / count) if count else 0.0, float(fake / count) if count else 0.0)
        for count, score, fake in zip(counts, scores, fakes, strict=True)
    )


def calibration_error(judged: Judged) -> float:
    """Expected calibration error of the fake score (Naeini, Cooper and Hauskrecht, AAAI 2015).

    The mean over all scores of |mean score - share of fakes| of the bin that a score is in.
    """
    bins = reliability(judged)
    return sum(item.count * abs(item.mean_score - item.share_fake) for item in bins) / sum(item.count for item in bins)


def log_loss(judged: Judged) -> float:
    """Mean negative log-likelihood of the truth, the scores being taken for probabilities."""
    metrics = require("sklearn.metrics", extra="train")
    return float(metrics.log_loss(judged.fake, judged.scores, sample_weight=judged.weights, labels=[False, True]))


def _of_counts(counts: Confusion) -> Mapping[str, float | None]:
    called, fakes = counts.true_fake + counts.false_fake, counts.true_fake + counts.false_real
    right = counts.true_fake + counts.true_real
    return {
        "accuracy": right / (right + counts.false_fake + counts.false_real),
        "precision": counts.true_fake / called if called else None,
        "recall": counts.true_fake / fakes if fakes else None,
        "f1": 2 * counts.true_fake / (called + fakes) if called + fakes else None,
    }


def _of_ranks(judged: Judged) -> Mapping[str, float]:
    metrics = require("sklearn.metrics", extra="train")
    # Its checks of its arguments take longer than what it computes, a thousand times over in a bootstrap.
    with require("sklearn", extra="train").config_context(skip_parameter_validation=True, assume_finite=True):
        false_positives, true_positives = roc(judged)
        area = float(metrics.auc(false_positives, true_positives))
    return {
        "auc": area,
        "eer": equal_error_rate(false_positives, true_positives),
        "average_precision": average_precision(false_positives, true_positives, judged.share_fake),
    }


def _lacking(judged: Judged) -> str | None:
    """Why the two classes cannot be told apart: one of them is not there."""
    fakes = float(judged.weights[judged.fake].sum())
    reals = float(judged.weights.sum()) - fakes
    if fakes and reals:
        return None
    if not fakes and not reals:
        return "there are no scores"
    return f"there are only {'fakes' if fakes else 'real ones'}"
