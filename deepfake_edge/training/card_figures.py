"""The figures of a model card, from what `deepfake-edge evaluate` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deepfake_edge.training.evaluating.bootstrap import LEVEL, Figure
from deepfake_edge.training.evaluating.tables import cell, interval

_FIGURES = {
    "auc": "AUC", "accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "eer": "EER",
    "average_precision": "average precision", "ece": "ECE",
}  # fmt: skip
_MEANINGS = (
    "Windows are the model's own answers, each to one run of crops; a video's score is the mean of its windows'.",
    "AUC: how often a fake scores higher than a real video, of all pairs; 0.5 is chance, 1 is best.",
    "Accuracy, precision, recall, F1: at the model's threshold. Precision: how much of what is called fake is fake; it "
    "depends on how many fakes there are. Recall: how many fakes are called fake. F1: the harmonic mean of the two.",
    "EER: the share of errors at the threshold where as many real videos as fakes are called wrongly; 0 is best.",
    "Average precision: of the ranking, over all thresholds; the share of fakes is chance, 1 is best.",
    "ECE: how far scores lie from the share of fakes among videos with such scores; 0: scores are probabilities.",
    f"In brackets: {LEVEL:.0%} intervals by bootstrap over videos: how far a figure would move with other videos of "
    "the same kind. Of other people, cameras and kinds of fakes they say nothing, fakes of one video count as if they "
    "had nothing to do with each other, and what was told apart without an error has an interval without width.",
)
_UNMEASURED = "**Not measured**"
_NEVER = (
    "whether it is right as often for people of any age, sex and skin colour.",
    "how long it takes on a device (`deepfake-edge benchmark` tells).",
)


def figures(reports: Sequence[Mapping[str, Any]], words: Mapping[str, str]) -> Iterator[str]:
    """Every evaluation, after what its figures mean.

    Args:
        reports: as `evaluating.report.report_json` gives them.
        words: whose clips they are, by the names of their folders.
    Raises:
        KeyError, TypeError, ValueError: a report lacks something.
    """
    if reports:
        yield from ("## What the figures mean", *(f"- {meaning}" for meaning in _MEANINGS))
    for report in reports:
        yield from ("", *_evaluation(report, words.get(report["data"]["name"])))


def missing(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a reader may look for, and no report has."""
    models = [model for report in reports for model in report["models"]]
    if not models:
        yield f"- {_UNMEASURED}: how often it is right, on anything."
        return
    if not any(group["manipulation"] for model in models for group in model["summaries"]):
        yield f"- {_UNMEASURED}: how well it does on each kind of fake."
    if not any(model["stress"] for model in models):
        yield f"- {_UNMEASURED}: robustness against compression, size, blur, darkness, noise and lost frames."
    yield from (f"- {_UNMEASURED}: {words}" for words in _NEVER)


def _evaluation(report: Mapping[str, Any], words: str | None) -> Iterator[str]:
    data = report["data"]
    yield f"## Figures: {cell(data['name'])}, {data['split']}"
    if words is not None:
        yield f"- {words}"
    people = "the data set does not say of how many people" if data["people"] is None else f"{data['people']} people"
    yield f"- Clips: {report['models'][0]['clips']}; {people}"
    if data["left_out"]:
        told = ", ".join(f"{each['clip']} ({each['label']}: {each['reason']})" for each in data["left_out"])
        yield f"- Left out before any model saw them: {len(data['left_out'])} more: {cell(told)}"
    for model in report["models"]:
        yield from ("", *_model(model))
    if calibration := report["calibration"]:
        yield from ("", *_calibration(calibration))


def _model(model: Mapping[str, Any]) -> Iterator[str]:
    spec, (videos, windows, *groups) = model["spec"], model["summaries"]
    yield f"### {cell(model['title'])}"
    yield f"`{model['precision']}` on {model['runtime']}, sha256 {model['sha256']}"
    calibrated = "" if spec["temperature"] == 1.0 else f"; temperature {spec['temperature']:.4g}"
    yield f"Fake from {spec['threshold']:.4g}{calibrated}."
    yield from ("", "| figure | videos | windows |", "|---|---|---|")
    yield f"| real, fake | {videos['real']}, {videos['fake']} | {windows['real']}, {windows['fake']} |"
    for label, wrong in (("real", "fake"), ("fake", "real")):
        counts = (_wrong(summary, label, wrong) for summary in (videos, windows))
        yield f"| {label} called {wrong} | {' | '.join(counts)} |"
    for key, name in _FIGURES.items():
        yield f"| {name} | {_value(videos['figures'][key])} | {_value(windows['figures'][key])} |"
    if groups:
        yield from ("", "| fakes | real, fake videos | AUC over videos |", "|---|---|---|")
    for group in groups:
        yield f"| {_name(group)} | {group['real']}, {group['fake']} | {_value(group['figures']['auc'])} |"
    yield from _stress(model["stress"])
    if silent := model["no_verdict"]:
        kinds = [sum(each["label"] == label for each in silent) for label in ("real", "fake")]
        told = f"{kinds[0]} real and {kinds[1]} fake"
        yield from ("", f"{len(silent)} of {model['clips']} clips ({told}) have no verdict and no part in this.")
    if reasons := _reasons(model):
        yield from ("", *(f"- {reason} ({', '.join(places)})" for reason, places in reasons.items()))


def _wrong(summary: Mapping[str, Any], label: str, called: str) -> str:
    wrong = 0 if summary["confusion"] is None else summary["confusion"][f"false_{called}"]
    return f"{wrong:g} of {summary[label]}"


def _stress(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield from ("", "| condition | AUC over videos | change from clean | other labels than clean | verdicts lost |")
    yield "|---|---|---|---|---|"
    for row in rows:
        change = "" if row["auc_change"] is None else _value(row["auc_change"], sign="+")
        flips = f"{row['flips']} of {row['videos']}"
        yield f"| {row['condition']}: {row['words']} | {_value(row['auc'])} | {change} | {flips} | {row['lost']} |"


def _reasons(model: Mapping[str, Any]) -> dict[str, list[str]]:
    """Why figures or intervals are not there, and of what."""
    found: dict[str, list[str]] = {}
    places = [(f"{_name(summary)} {summary['unit']}", summary["figures"]) for summary in model["summaries"]]
    places += [(row["condition"], {"auc": row["auc"]}) for row in model["stress"]]
    for place, measured in places:
        for name, figure in measured.items():
            if figure["reason"] is not None:
                no = "" if figure["value"] is not None else f"no {_FIGURES[name]}: "
                where = found.setdefault(f"{no}{figure['reason']}", [])
                where += [place] if place not in where else []
    return found


def _calibration(found: Mapping[str, Any]) -> Iterator[str]:
    yield "### Calibration"
    yield (
        f"A temperature of {_value(found['temperature'])} was fitted on {found['videos']} videos of "
        f"{cell(found['fitted_on'])}, from what {cell(found['model'])} said before; sha256 of the calibrated bundle "
        f"{found['sha256']}. On the same videos, which is too good:"
    )
    yield from ("", "| figure | before | after |", "|---|---|---|")
    for name, value in found["before"].items():
        yield f"| {name.replace('_', ' ')} | {value:.4f} | {found['after'][name]:.4f} |"


def _name(summary: Mapping[str, Any]) -> str:
    return cell(" ".join(filter(None, (summary["dataset"], summary["manipulation"]))) or "all")


def _value(figure: Mapping[str, Any], sign: str = "") -> str:
    return "not measured" if figure["value"] is None else interval(Figure(**figure), sign)
