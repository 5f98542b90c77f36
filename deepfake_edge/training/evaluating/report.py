"""An evaluation as data: every figure, every score, and what they were measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.datasets.entries import ClipEntry
from deepfake_edge.training.evaluating.bootstrap import LEVEL, Resampling
from deepfake_edge.training.evaluating.comparing import Difference, compare
from deepfake_edge.training.evaluating.judging import ClipScore
from deepfake_edge.training.evaluating.metrics import ECE_BINS
from deepfake_edge.training.evaluating.predictors import Identity
from deepfake_edge.training.evaluating.stress import Condition
from deepfake_edge.training.evaluating.stressed import Stressed, stressed
from deepfake_edge.training.evaluating.summary import Summary, summarise

FORMAT = 2
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
        data: what it was measured on, as plain JSON types: what `told_of` says, `left_out`, and more.
        models: in the order that the user named them.
        summaries: of each model, by its title; the first is over all videos, the second over all windows.
        stress: of each model, by its title: first without any, then under each condition; empty without a stress test.
        resampling: behind the intervals.
        calibration: what became of the temperature, as plain JSON types; None where none was fitted.
    """

    data: Mapping[str, Any]
    models: Sequence[Evaluated]
    summaries: Mapping[str, Sequence[Summary]]
    stress: Mapping[str, Sequence[Stressed]]
    resampling: Resampling
    calibration: Mapping[str, Any] | None = None


def told_of(folder: Path, split: str, entries: Sequence[ClipEntry]) -> dict[str, Any]:
    """What a reader must know of the clips, as plain JSON types: the first keys of `Report.data`.

    Args:
        folder: where they are.
        split: which of them.
        entries: what the data set says of each.
    """
    named = all(entry.identities for entry in entries)
    people = len({(entry.dataset, name) for entry in entries for name in entry.identities}) if named else None
    return {"folder": str(folder), "name": folder.resolve().name, "split": split, "people": people}


def make_report(
    data: Mapping[str, Any],
    models: Sequence[Evaluated],
    conditions: Sequence[Condition],
    resampling: Resampling,
    calibration: Mapping[str, Any] | None = None,
) -> Report:
    """Work out every model's figures."""
    summaries = {model.identity.title: summarise(model.scores, model.spec.threshold, resampling) for model in models}
    stress = {
        model.identity.title: stressed(model.scores, model.stressed, conditions, model.spec.threshold, resampling)
        for model in models
    }
    return Report(data, models, summaries, stress, resampling, calibration)


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
        {"model": other.identity.title, "from": first.identity.title, **asdict(_difference(first, other))}
        for other in others
    ]


def _difference(first: Evaluated, other: Evaluated) -> Difference:
    found = compare(first.scores, other.scores, (first.spec.threshold, other.spec.threshold))
    return found if first.spec.clip == other.spec.clip else replace(found, windows_max_difference=None)


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
        "stress": [each.to_json() for each in report.stress[model.identity.title]],
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
