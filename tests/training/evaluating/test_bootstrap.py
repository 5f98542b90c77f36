"""Intervals are as wide as theory says, and videos, not windows, make them narrow."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.evaluating.bootstrap import Resampling, figures
from deepfake_edge.training.evaluating.metrics import Judged

_SHIFT = 1.0
_TRUE_AUC = NormalDist().cdf(_SHIFT / 2**0.5)


def drawn(seed: int, videos: int = 60) -> Judged:
    """Half real, half fake; the logits of the scores are normal, a standard deviation apart."""
    random = np.random.default_rng(seed)
    fake = np.arange(videos) % 2 == 1
    return Judged.once(fake, 1 / (1 + np.exp(-random.normal(_SHIFT * fake - _SHIFT / 2))))


def test_intervals_are_as_wide_as_theory_says():
    given = drawn(3, videos=200)
    found = figures(given, np.arange(200), 0.5, Resampling(seed=1))
    accuracy = found["accuracy"]
    error = (accuracy.value * (1 - accuracy.value) / 200) ** 0.5
    assert accuracy.high - accuracy.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    auc = found["auc"]
    # Hanley and McNeil, Radiology 1982.
    q1, q2 = auc.value / (2 - auc.value), 2 * auc.value**2 / (1 + auc.value)
    variance = (auc.value * (1 - auc.value) + 99 * (q1 + q2 - 2 * auc.value**2)) / 100**2
    assert auc.high - auc.low == pytest.approx(2 * 1.96 * variance**0.5, rel=0.2)
    assert auc.low < auc.value < auc.high


def test_windows_of_one_video_stay_together():
    given, videos = drawn(4), np.arange(60)
    once = figures(given, videos, 0.5, Resampling())
    repeated = Judged.once(given.fake.repeat(10), given.scores.repeat(10))
    together = figures(repeated, videos.repeat(10), 0.5, Resampling())
    for name, figure in once.items():
        ends = (together[name].value, together[name].low, together[name].high)
        assert ends == pytest.approx((figure.value, figure.low, figure.high)), name


def test_a_seed_gives_the_same_interval_and_another_one_does_not():
    given, videos = drawn(5), np.arange(60)
    first, again, other = (figures(given, videos, 0.5, Resampling(seed=seed))["auc"] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_too_few_videos_have_figures_and_no_intervals():
    given = drawn(6, videos=8)
    found = figures(given, np.arange(8), 0.5, Resampling())
    assert found["auc"].value is not None
    assert found["auc"].low is None
    assert found["auc"].reason == "no interval: fewer than 5 real and fake videos"


def test_what_few_resamples_have_gets_no_interval():
    scores = np.array([0.1] * 19 + [0.9] + [0.2] * 20)
    found = figures(Judged.once(np.arange(40) >= 20, scores), np.arange(40), 0.5, Resampling())
    assert found["precision"].value == 0.0
    assert found["precision"].low is None
    assert "resamples have no value" in found["precision"].reason


def test_fewer_than_a_thousand_resamples_are_refused():
    with pytest.raises(InvalidInput, match="resamples: wanted at least 1000, got 999"):
        Resampling(999)


@pytest.mark.slow
def test_ninety_five_percent_of_the_intervals_hold_the_truth():
    found = [figures(drawn(seed), np.arange(60), 0.5, Resampling())["auc"] for seed in range(150)]
    held = np.mean([figure.low <= _TRUE_AUC <= figure.high for figure in found])
    # 150 draws at 0.93 to 0.95 have a standard error of 0.02.
    assert 0.88 <= held <= 0.99
