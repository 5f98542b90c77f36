"""An evaluation as rows of text, for terminals and for Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepfake_edge.tables import printable
from deepfake_edge.training.datasets.entries import LABELS
from deepfake_edge.training.evaluating.bootstrap import Figure
from deepfake_edge.training.evaluating.metrics import METRICS
from deepfake_edge.training.evaluating.report import Report, differences
from deepfake_edge.training.evaluating.stressed import Stressed
from deepfake_edge.training.evaluating.summary import Summary

_NAMES = {"auc": "AUC", "eer": "EER", "average_precision": "average precision", "ece": "ECE", "f1": "F1"}


@dataclass(frozen=True, slots=True)
class Sheet:
    """A titled table."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(report: Report) -> Iterator[Sheet]:
    """Every table of a report, in the order in which they are read."""
    titles = tuple(report.summaries)
    columns = list(zip(*report.summaries.values(), strict=True))
    for place, name in ((0, "Videos"), (1, "Windows")):
        rows = [
            (_NAMES.get(metric, metric), *(interval(summary.figures[metric]) for summary in columns[place]))
            for metric in METRICS
        ]
        real, fake = _counts(columns[place])
        yield Sheet(f"{name}: {real} real, {fake} fake", ("", *titles), tuple(rows))
    yield Sheet("Confusion, videos", ("", *_CELLS), tuple(_cells(report)))
    if groups := tuple(_group_rows(columns[2:])):
        yield Sheet("AUC over videos, by data set and manipulation", ("", "real", "fake", *titles), groups)
    if found := differences(report):
        rows = [
            (each["model"], each["from"], str(each["flips"]), *map(_short, (each["max_difference"],
             each["mean_difference"], each["windows_max_difference"])))
            for each in found
        ]  # fmt: skip
        header = ("", "from", "flips", "largest difference", "mean", "largest of a window")
        yield Sheet("Differences of scores", header, tuple(rows))
    yield from (_stress(title, rows) for title, rows in report.stress.items() if rows)
    if report.calibration is not None:
        yield _calibration(report.calibration)


_CELLS = ("real as real", "real as fake", "fake as real", "fake as fake", "no verdict")


def interval(figure: Figure, sign: str = "") -> str:
    """A figure with its interval, or a dash; `sign` is "+" where a plus is to be shown."""
    if figure.value is None:
        return "-"
    # A change that is rounded to nothing has no sign of its own: -0.0 + 0.0 is 0.0.
    numbers = [round(each, 3) + 0.0 for each in (figure.value, figure.low, figure.high) if each is not None]
    value, *ends = (f"{each:{sign if each else ''}.3f}" for each in numbers)
    return f"{value} ({ends[0]} to {ends[1]})" if ends else value


def notes(report: Report) -> list[str]:
    """What a reader must know of the figures: each reason once, with where it holds."""
    found: dict[str, list[str]] = {}
    for title, summaries in report.summaries.items():
        for summary in summaries:
            where = f"{summary.group.title} {summary.unit}"
            reasons = {_reason(name, figure) for name, figure in summary.figures.items() if figure.reason is not None}
            for reason in sorted(reasons):
                found.setdefault(f"{title}: {reason}", []).append(where)
    told = [f"{reason} ({', '.join(places)})" for reason, places in found.items()]
    told += _left_out(report.data["left_out"])
    for model in report.models:
        silent = Counter(score.label for score in model.scores if score.fake_score is None)
        if silent:
            kinds = " and ".join(f"{silent[label]} {label}" for label in LABELS if silent[label])
            told.append(
                f"{model.identity.title}: {kinds} of {len(model.scores)} clips have no verdict, and no part in any "
                "figure; report.json has the reasons"
            )
        told += _stress_notes(model.identity.title, report.stress[model.identity.title])
    if report.calibration is not None:
        told += _calibration_notes(report.calibration)
    return told


def markdown(sheet: Sheet) -> str:
    """A table in Markdown, under its title."""
    rows = [sheet.header, tuple("---" for _ in sheet.header), *sheet.rows]
    lines = ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return f"## {cell(sheet.title)}\n" + "\n".join(lines)


def _left_out(clips: Sequence[Mapping[str, str]]) -> Iterator[str]:
    kinds = Counter((clip["reason"], clip["label"]) for clip in clips)
    if kinds:
        told = ", ".join(f"{count} {label}: {reason}" for (reason, label), count in sorted(kinds.items()))
        yield f"{len(clips)} clips of the split were left out when they were prepared ({told})"


def _calibration(found: Mapping[str, Any]) -> Sheet:
    """What a temperature does to the scores that it was fitted on."""
    rows = [
        (name.replace("_", " "), *(f"{found[when][name]:.4f}" for when in ("before", "after")))
        for name in found["before"]
    ]
    where = f"fitted on {found['videos']} videos of {found['fitted_on']}"
    return Sheet(
        f"Temperature {interval(Figure(**found['temperature']))}, {where}", ("", "before", "after"), tuple(rows)
    )


def _calibration_notes(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{found['model']}: all other tables are of the bundle before; NLL and ECE of the temperature are of its fit"
    yield f"{found['model']}: {found['flips']} of {found['videos']} videos get another label with the temperature"
    figure = Figure(**found["temperature"])
    if figure.reason:
        yield f"{found['model']}: temperature: {figure.reason}"
    elif figure.low is not None and figure.high is not None and figure.low <= 1.0 <= figure.high:
        yield f"{found['model']}: temperature: its interval holds 1, which changes nothing; take more clips"


def _cells(report: Report) -> Iterator[tuple[str, ...]]:
    for model in report.models:
        found = report.summaries[model.identity.title][0].confusion
        counts = ("0",) * 4 if found is None else tuple(f"{cell:g}" for cell in (
            found.true_real, found.false_fake, found.false_real, found.true_fake))  # fmt: skip
        yield (model.identity.title, *counts, str(sum(score.fake_score is None for score in model.scores)))


def _group_rows(columns: Sequence[Sequence[Summary]]) -> Iterator[tuple[str, ...]]:
    for summaries in columns:
        areas = (interval(summary.figures["auc"]) for summary in summaries)
        yield (summaries[0].group.title, *_counts(summaries), *areas)


def _counts(summaries: Sequence[Summary]) -> tuple[str, str]:
    """How many real and fake ones; where models have other numbers of them, each one's in turn."""

    def told(numbers: list[int]) -> str:
        return " / ".join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))

    return told([each.real for each in summaries]), told([each.fake for each in summaries])


def _stress(title: str, rows: Sequence[Stressed]) -> Sheet:
    header = ("", "real", "fake", "AUC", "change of AUC", "flips", "verdicts lost", "mean difference")
    return Sheet(f"Stress: {title}", header, tuple(_stress_row(row) for row in rows))


def _stress_row(row: Stressed) -> tuple[str, ...]:
    change = "-" if row.auc_change is None else interval(row.auc_change, sign="+")
    flips = f"{row.difference.flips} of {row.difference.videos}"
    counts = (str(row.real), str(row.fake))
    lost, mean = str(row.difference.lost), _short(row.difference.mean_difference)
    return (row.condition.name, *counts, interval(row.auc), change, flips, lost, mean)


def _stress_notes(title: str, rows: Sequence[Stressed]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for row in rows:
        figures = [figure for figure in (row.auc, row.auc_change) if figure is not None and figure.reason is not None]
        for reason in dict.fromkeys(_reason("auc", figure) for figure in figures):
            found.setdefault(reason, []).append(row.condition.name)
    for reason, names in found.items():
        where = "every condition" if len(names) == len(rows) else ", ".join(names)
        yield f"{title}: stress: {reason} ({where})"


def _reason(name: str, figure: Figure) -> str:
    """Why there is no figure, with its name, or no interval."""
    return f"{_NAMES.get(name, name)}: {figure.reason}" if figure.value is None else str(figure.reason)


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 0.001 else f"{value:.3f}"


def cell(text: str) -> str:
    """A text that breaks no table in Markdown."""
    return printable(text).replace("|", "\\|").replace("\n", " ")
