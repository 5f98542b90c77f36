"""An evaluation as rows of text, for terminals and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepfake_edge.tables import printable
from deepfake_edge.training.datasets.entries import LABELS
from deepfake_edge.training.evaluating.bootstrap import LEAST_VIDEOS, Figure
from deepfake_edge.training.evaluating.metrics import METRICS
from deepfake_edge.training.evaluating.report import Evaluated, Report, differences, stress_rows
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
    if report.conditions:
        yield from (_stress(report, number) for number in range(len(report.models)))


_CELLS = ("real as real", "real as fake", "fake as real", "fake as fake", "no verdict")


def interval(figure: Figure) -> str:
    """A figure with its interval, or a dash."""
    if figure.value is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def notes(report: Report) -> list[str]:
    """What a reader must know of the figures: each reason once, with where it holds."""
    found: dict[str, list[str]] = {}
    for title, summaries in report.summaries.items():
        for summary in summaries:
            where = f"{summary.group.title} {summary.unit}"
            reasons = {
                f"{_NAMES.get(name, name)}: {figure.reason}" if figure.value is None else figure.reason
                for name, figure in summary.figures.items()
                if figure.reason is not None
            }
            for reason in sorted(reasons):
                found.setdefault(f"{title}: {reason}", []).append(where)
    told = [f"{reason} ({', '.join(places)})" for reason, places in found.items()]
    for model in report.models:
        silent = sum(score.fake_score is None for score in model.scores)
        if silent:
            told.append(f"{model.identity.title}: {silent} of {len(model.scores)} clips have no verdict")
        if report.conditions:
            told += _stress_notes(report, model)
    return told


def markdown(sheet: Sheet) -> str:
    """A table in Markdown, under its title."""
    rows = [sheet.header, tuple("---" for _ in sheet.header), *sheet.rows]
    lines = ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return f"## {_cell(sheet.title)}\n" + "\n".join(lines)


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


def _stress(report: Report, number: int) -> Sheet:
    model = report.models[number]
    rows = tuple(
        (row["condition"], str(row["real"]), str(row["fake"]), _short(row["auc"]),
         f"{row['flips']} of {row['videos']}", str(row["lost"]), _short(row["mean_difference"]))
        for row in stress_rows(report, model)
    )  # fmt: skip
    header = ("", "real", "fake", "AUC", "flips", "verdicts lost", "mean difference")
    return Sheet(f"Stress: {model.identity.title}", header, rows)


def _stress_notes(report: Report, model: Evaluated) -> Iterator[str]:
    rows = stress_rows(report, model)
    for label in LABELS:
        if few := [row["condition"] for row in rows if row[label] < LEAST_VIDEOS]:
            where = "every condition" if len(few) == len(rows) else ", ".join(few)
            yield (
                f"{model.identity.title}: stress: fewer than {LEAST_VIDEOS} {label} videos with a verdict, so its AUC "
                f"says little of other videos ({where})"
            )


def _short(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if abs(value) < 0.001 else f"{value:.3f}"


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|").replace("\n", " ")
