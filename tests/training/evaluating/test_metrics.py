"""Figures against answers worked out by hand, and against scikit-learn's own functions."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from deepfake_edge.training.evaluating.metrics import (
    METRICS,
    Judged,
    calibration_error,
    confusion,
    equal_error_rate,
    log_loss,
    measure,
    reliability,
    roc,
)


def judged(pairs) -> Judged:
    fake, scores = zip(*pairs, strict=True)
    return Judged.once(np.asarray(fake, bool), np.asarray(scores, float))


def drawn(count=300, seed=0) -> Judged:
    random = np.random.default_rng(seed)
    fake = random.random(count) < 0.4
    # Two decimals: ties are the rule in small sets.
    scores = np.round(np.clip(random.normal(0.4 + 0.2 * fake, 0.2), 0, 1), 2)
    return Judged.once(fake, scores)


def test_known_answers():
    found, reasons = measure(judged([(0, 0.1), (0, 0.6), (1, 0.4), (1, 0.9)]), 0.5)
    assert not reasons
    assert found == pytest.approx(
        {
            "accuracy": 0.5,
            "precision": 0.5,
            "recall": 0.5,
            "f1": 0.5,
            "auc": 0.75,  # 3 of the 4 pairs are in order
            "eer": 0.5,
            "average_precision": 0.5 * 1 + 0.5 * 2 / 3,
            "ece": (0.1 + 0.6 + 0.6 + 0.1) / 4,  # each alone in its bin
        }
    )


@pytest.mark.parametrize("threshold", [0.0, 0.37, 0.5, 1.0])
def test_scikit_learn_says_the_same(threshold):
    given = drawn()
    found, _ = measure(given, threshold)
    called = given.scores >= threshold
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        given.fake, called, average="binary", zero_division=np.nan
    )
    wanted = {
        "accuracy": sk.accuracy_score(given.fake, called),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auc": sk.roc_auc_score(given.fake, given.scores),
        "average_precision": sk.average_precision_score(given.fake, given.scores),
    }
    assert {name: np.nan if found[name] is None else found[name] for name in wanted} == pytest.approx(
        wanted, nan_ok=True
    )
    counts = confusion(given, threshold)
    cells = [[counts.true_real, counts.false_fake], [counts.false_real, counts.true_fake]]
    assert (sk.confusion_matrix(given.fake, called) == cells).all()
    assert log_loss(given) == pytest.approx(sk.log_loss(given.fake, given.scores))


def test_a_weight_of_three_is_three_times_the_same():
    given = drawn(60)
    times = np.random.default_rng(1).integers(1, 4, 60)
    repeated = Judged.once(given.fake.repeat(times), given.scores.repeat(times))
    weighted = Judged(given.fake, given.scores, times.astype(float))
    assert measure(weighted, 0.5)[0] == pytest.approx(measure(repeated, 0.5)[0])


def test_equal_error_rate_lies_on_the_straight_line_between_two_points():
    # Between (0.1, 0.6) and (0.3, 0.9) false positives meet false negatives at 0.22: 0.1 + 0.12 and 1 - 0.78.
    assert equal_error_rate(np.array([0, 0.1, 0.3, 1]), np.array([0, 0.6, 0.9, 1])) == pytest.approx(0.22)
    assert equal_error_rate(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 1.0])) == 0.0
    assert equal_error_rate(np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0])) == 1.0
    assert equal_error_rate(np.array([0.0, 1.0]), np.array([0.0, 1.0])) == 0.5
    assert equal_error_rate(*roc(judged([(0, 0.2), (0, 0.3), (0, 0.8), (1, 0.7), (1, 0.9)]))) == pytest.approx(1 / 3)


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.61 and 0.65 share the tenth, and 1.0 is in the last.
    given = judged([(1, 0.61), (0, 0.65), (1, 1.0), (0, 0.05)])
    assert calibration_error(given) == pytest.approx((2 * abs(0.63 - 0.5) + 0.0 + 0.05) / 4)
    filled = [(place, item.count) for place, item in enumerate(reliability(given)) if item.count]
    assert filled == [(0, 1.0), (9, 2.0), (14, 1.0)]


@pytest.mark.parametrize(("fake", "only"), [(True, "fakes"), (False, "real ones")])
def test_of_one_class_nothing_is_told_apart(fake, only):
    found, reasons = measure(judged([(fake, 0.2), (fake, 0.3)]), 0.5)
    assert found["auc"] is found["eer"] is found["average_precision"] is None
    assert reasons["auc"] == f"there are only {only}"
    assert found["accuracy"] == (0.0 if fake else 1.0)
    assert found["recall"] == (0.0 if fake else None)
    assert reasons["precision"] == "nothing is called fake"
    assert set(reasons) == {name for name in METRICS if found[name] is None}


def test_of_nothing_there_are_no_figures():
    found, reasons = measure(Judged.once(np.zeros(0, bool), np.zeros(0)), 0.5)
    assert set(found.values()) == {None}
    assert reasons["auc"] == "there are no scores"
    assert set(reasons) == set(METRICS)
