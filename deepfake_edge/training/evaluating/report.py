"""An evaluation as data: every figure, every score, and what they were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.evaluating.bootstrap import LEVEL, Resampling
from deepfake_edge.training.evaluating.comparing import auc_of, compare
from deepfake_edge.training.evaluating.judging import ClipScore
from deepfake_edge.training.evaluating.metrics import ECE_BINS
from deepfake_edge.training.evaluating.predictors import Identity
from deepfake_edge.training.evaluating.stress import Condition
from deepfake_edge.training.evaluating.summary import Summary, judged_of, summarise

FORMAT = 1
_TOOLS = ("deepfake-edge", "scikit-learn", "numpy")
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One model's scores.

    Attributes:
        identity: the model.
        spec: what it expects; its threshold labels.
        scores: of every clip, in one order for all models.
        stressed: the same under each condition, by its name.
    """

    identity: Identity
    spec: ModelSpec
    scores: tuple[ClipScore, ...]
    stressed: Mapping[str, tuple[ClipScore, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """An evaluation.

    Attributes:
        data: what it was measured on, as plain JSON types: `folder`, `split`, and more.
        models: in the order that the user named them.
        summaries: of each model, by its title; the first is over all videos, the second over all windows.
        conditions: of a stress test.
        resampling: behind the intervals.
        calibration: what became of the temperature, as plain JSON types; None where none was fitted.
    """

    data: Mapping[str, Any]
    models: Sequence[Evaluated]
    summaries: Mapping[str, Sequence[Summary]]
    conditions: Sequence[Condition]
    resampling: Resampling
    calibration: Mapping[str, Any] | None = None


def make_report(
    data: Mapping[str, Any],
    models: Sequence[Evaluated],
    conditions: Sequence[Condition],
    resampling: Resampling,
    calibration: Mapping[str, Any] | None = None,
) -> Report:
    """Work out every model's figures."""
    summaries = {model.identity.title: summarise(model.scores, model.spec.threshold, resampling) for model in models}
    return Report(data, models, summaries, conditions, resampling, calibration)


def report_json(report: Report) -> dict[str, Any]:
    """As plain JSON types; docs/evaluation.md has every key."""
    how = report.resampling
    return {
        "format": FORMAT,
        "made_with": {tool: metadata.version(tool) for tool in _TOOLS},
        "data": dict(report.data),
        "intervals": {"level": LEVEL, "resamples": how.count, "seed": how.seed, "over": "videos, by label"},
        "ece": {"bins": ECE_BINS, "of": "the fake score"},
        "models": [_model_json(report, model) for model in report.models],
        "differences": differences(report),
        "calibration": None if report.calibration is None else dict(report.calibration),
    }


def differences(report: Report) -> list[dict[str, Any]]:
    """How each model but the first differs from the first."""
    if not report.models:
        return []
    first, *others = report.models
    return [
        {
            "model": other.identity.title,
            "from": first.identity.title,
            **asdict(compare(first.scores, other.scores, (first.spec.threshold, other.spec.threshold))),
        }
        for other in others
    ]


def stress_rows(report: Report, model: Evaluated) -> list[dict[str, Any]]:
    """What each condition does to a model, the clean run first."""
    rows = []
    threshold = model.spec.threshold
    runs = [("clean", "as prepared", model.scores)]
    runs += [(item.name, item.words, model.stressed[item.name]) for item in report.conditions]
    for name, words, scores in runs:
        auc, reason = auc_of(scores, threshold)
        fake = judged_of(scores, "videos")[0].fake
        counts = {"real": int((~fake).sum()), "fake": int(fake.sum())}
        difference = asdict(compare(model.scores, scores, (threshold, threshold)))
        rows.append({"condition": name, "words": words, **counts, "auc": auc, "auc_reason": reason, **difference})
    return rows


def _model_json(report: Report, model: Evaluated) -> dict[str, Any]:
    return {
        **asdict(model.identity),
        "spec": model.spec.to_json(),
        "clips": len(model.scores),
        "no_verdict": [
            {"clip": score.id, "label": score.label, "reason": score.reason}
            for score in model.scores
            if score.fake_score is None
        ],
        "summaries": [summary.to_json() for summary in report.summaries[model.identity.title]],
        "stress": stress_rows(report, model) if report.conditions else [],
        "scores": [_score_json(score) for score in model.scores],
    }


def _score_json(score: ClipScore) -> dict[str, Any]:
    return {
        "clip": score.id,
        "label": score.label,
        "dataset": score.dataset,
        "manipulation": score.manipulation,
        "fake_score": None if score.fake_score is None else round(score.fake_score, _DECIMALS),
        "windows": [round(value, _DECIMALS) for value in score.windows],
    }
