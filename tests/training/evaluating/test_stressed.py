"""Figures under stress have the intervals of the clean ones, and changes are of the same videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.evaluating.bootstrap import Figure, Resampling, area, area_change, draws
from deepfake_edge.training.evaluating.metrics import Judged, areas
from deepfake_edge.training.evaluating.predictors import Identity
from deepfake_edge.training.evaluating.report import Evaluated, make_report, report_json
from deepfake_edge.training.evaluating.stress import Condition
from deepfake_edge.training.evaluating.tables import interval, markdown, notes, sheets
from training.evaluating.made import FRAME_SPEC, made_score

_DARK = Condition("dark", "all levels halved")


def drawn(seed: int, videos: int = 40):
    """Scores with ties, the real ones first."""
    random = np.random.default_rng(seed)
    fake = np.arange(videos) >= videos // 2
    return fake, np.round(np.clip(random.normal(0.4 + 0.2 * fake, 0.2), 0, 1), 1)


def scored(fake, values):
    rows = zip(fake, values, strict=True)
    return tuple(
        made_score(str(number), "fake" if each else "real", None if value is None else float(value))
        for number, (each, value) in enumerate(rows)
    )


def reported(clean, dark):
    model = Evaluated(Identity("made", "made.dfe", "0", "fp32", "none"), FRAME_SPEC, clean, {"dark": dark})
    return make_report({"left_out": []}, [model], [_DARK], Resampling())


def test_areas_are_those_of_scikit_learn():
    fake, scores = drawn(1)
    weights = np.random.default_rng(2).integers(0, 4, (50, len(fake))).astype(float)
    wanted = [roc_auc_score(fake, scores, sample_weight=row) for row in weights]
    assert areas(Judged.once(fake, scores), weights) == pytest.approx(wanted, abs=1e-12)


def test_the_clean_run_has_one_interval_wherever_it_stands():
    clean = scored(*drawn(3))
    report = reported(clean, clean)
    row, figure = report.stress["made"][0], report.summaries["made"][0].figures["auc"]
    assert row.auc_change is None
    assert (row.auc.value, row.auc.low, row.auc.high) == pytest.approx((figure.value, figure.low, figure.high))
    assert figure.low < figure.value < figure.high


def test_a_change_is_of_the_same_resamples_before_and_after():
    fake, scores = drawn(4)
    worse = np.where(np.arange(len(fake)) % 10 == 0, 1 - scores, scores)
    before, after, videos = Judged.once(fake, scores), Judged.once(fake, worse), np.arange(len(fake))
    found = area_change(before, after, videos, Resampling())
    each = [_area(fake, worse, times) - _area(fake, scores, times) for times in draws(fake, videos, Resampling())]
    assert found.value == pytest.approx(roc_auc_score(fake, worse) - roc_auc_score(fake, scores))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(each, (0.025, 0.975))))
    alone = area(after, videos, Resampling())
    assert found.high - found.low < alone.high - alone.low
    same = area_change(before, before, videos, Resampling())
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def _area(fake, scores, times):
    """Of all pairs of a fake and a real video, how many are in the right order; ties are half."""
    order = np.sign(np.subtract.outer(scores[fake], scores[~fake])) / 2 + 0.5
    return np.average(order, weights=np.outer(times[fake], times[~fake]))


def test_videos_whose_verdict_is_lost_have_no_part_in_the_change():
    fake, scores = drawn(5)
    clean = scored(fake, scores)
    # The real videos that look most like fakes get no verdict: the area grows, and no score has moved.
    dark = scored(fake, [None if not each and value > 0.4 else value for each, value in zip(fake, scores, strict=True)])
    row = reported(clean, dark).stress["made"][1]
    assert row.auc.value > roc_auc_score(fake, scores) + 0.01
    assert (row.auc_change.value, row.difference.lost) == (0.0, len(fake) - row.real - row.fake)


def test_where_videos_are_few_there_is_no_interval_and_the_reason():
    fake, scores = drawn(6, videos=8)
    row = reported(scored(fake, scores), scored(fake, 1 - scores)).stress["made"][1]
    assert row.auc.value is not None
    assert row.auc_change.value is not None
    assert row.auc.low is row.auc_change.low is None
    assert row.auc.reason == row.auc_change.reason == "no interval: fewer than 5 real and fake videos"


def test_of_one_class_there_is_no_area_and_no_change():
    scores = scored(np.ones(6, bool), np.linspace(0, 1, 6))
    report = reported(scores, scores)
    row = report.stress["made"][1]
    assert row.auc.value is row.auc_change.value is None
    assert row.auc.reason == row.auc_change.reason == "there are only fakes"
    assert "made: stress: AUC: there are only fakes (every condition)" in notes(report)


def test_nobody_left_is_said():
    fake, scores = drawn(7)
    report = reported(scored(fake, scores), scored(fake, [None] * len(fake)))
    row = report.stress["made"][1]
    assert (row.real, row.fake, row.auc.value, row.auc_change.value) == (0, 0, None, None)
    assert "made: stress: AUC: there are no scores (dark)" in notes(report)


def test_the_report_shows_them():
    fake, scores = drawn(8)
    report = reported(scored(fake, scores), scored(fake, 1 - scores))
    clean, dark = report_json(report)["models"][0]["stress"]
    assert clean["auc_change"] is None
    assert set(dark["auc"]) == set(dark["auc_change"]) == {"value", "low", "high", "reason"}
    (text,) = (markdown(sheet) for sheet in sheets(report) if sheet.title.startswith("Stress"))
    change = dark["auc_change"]
    assert change["high"] < 0
    assert interval(Figure(-0.0001, -0.25, 0.25), sign="+") == "0.000 (-0.250 to +0.250)"
    assert f"{change['value']:.3f} ({change['low']:.3f} to {change['high']:.3f})" in text


def test_windows_that_are_cut_otherwise_are_not_compared():
    scores = (made_score("a", "real", 0.2, (0.1, 0.3)), made_score("b", "fake", 0.8, (0.7, 0.9)))
    rates = {"first": 10.0, "alike": 10.0, "slower": 5.0}
    models = [
        Evaluated(Identity(name, "", "0", "fp32", "none"), replace(FRAME_SPEC, clip=ClipSpec(2, fps)), scores)
        for name, fps in rates.items()
    ]
    found = report_json(make_report({"left_out": []}, models, [], Resampling()))["differences"]
    assert [each["windows_max_difference"] for each in found] == [0.0, None]
