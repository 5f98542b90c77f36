"""The folder of an evaluation: report.json, report.md, and what is better seen than read.

report.json        every figure and every score; docs/evaluation.md has the keys
report.md          the tables
roc.png            over videos, a line a model
precision_recall.png
reliability.png
confusion.png
stress.png         of a stress test only
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.sealed import write_atomically
from deepfake_edge.tables import printable
from deepfake_edge.training import plots
from deepfake_edge.training.evaluating import metrics
from deepfake_edge.training.evaluating.metrics import Judged
from deepfake_edge.training.evaluating.report import Report, report_json
from deepfake_edge.training.evaluating.summary import judged_of
from deepfake_edge.training.evaluating.tables import markdown, notes, sheets

REPORT = "report.json"
# What report.md says of the data in a line each; `tables.notes` has the rest.
_TOLD = ("folder", "split", "people", "sha256", "face_pictures", "faces", "notes")


def check_folder(folder: Path) -> None:
    """Refuse a place that cannot hold a report, or holds something else. Raises InvalidInput."""
    place = folder.absolute()
    _check_place(next(each for each in (place, *place.parents) if os.path.exists(each)))
    if os.path.isdir(folder) and any(folder.iterdir()) and not (folder / REPORT).is_file():
        raise InvalidInput(f"{folder}: is not empty and holds no {REPORT}; give another folder")


def check_file(file: Path) -> None:
    """Refuse a place where no file can be written. Raises InvalidInput."""
    if os.path.isdir(file):
        raise InvalidInput(f"{file}: wanted a file to write, it is a folder")
    _check_place(Path(os.path.realpath(file)).parent)


def _check_place(folder: Path) -> None:
    if not os.path.isdir(folder):
        found = "is a file, wanted a folder" if os.path.exists(folder) else "there is no such folder; make it first"
        raise InvalidInput(f"{folder}: {found}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidInput(f"{folder}: cannot be written to; give another place")


def write_report(report: Report, folder: Path) -> None:
    """Write the folder, report.json last; an older report in it is replaced.

    Raises:
        MissingDependency: matplotlib is not installed.
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _draw(report, folder)
    write_atomically(_markdown(report).encode(), folder / "report.md")
    write_atomically(json_bytes(report), folder / REPORT)


def json_bytes(report: Report) -> bytes:
    """report.json as it is written."""
    return (json.dumps(report_json(report), indent=1, allow_nan=False) + "\n").encode("ascii")


def _markdown(report: Report) -> str:
    told = [f"- {name.replace('_', ' ')}: {_words(value)}" for name, value in report.data.items() if name in _TOLD]
    told += [
        f"- {item.title}: `{item.file}`, {item.precision} on {item.runtime}, sha256 {item.sha256}"
        for item in (model.identity for model in report.models)
    ]
    how = report.resampling
    told.append(f"- in brackets: 95 % intervals, {how.count} bootstrap resamples of the videos, seed {how.seed}")
    parts = ["# Evaluation", "\n".join(printable(line.replace("\n", " ")) for line in told)]
    if found := notes(report):
        parts.append("\n".join(f"- {note}" for note in found))
    return "\n\n".join([*parts, *(markdown(sheet) for sheet in sheets(report))]) + "\n"


def _words(value: Any) -> str:
    if value is None:
        return "not said by the data set"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items() if item is not None)
    return "; ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


def _draw(report: Report, folder: Path) -> None:
    judged = {model.identity.title: judged_of(model.scores, "videos")[0] for model in report.models}
    ranked = {title: item for title, item in judged.items() if 0 < item.fake.sum() < len(item.fake)}
    plots.roc({title: _rates(item) for title, item in ranked.items()}, folder / "roc.png")
    first = next(iter(judged.values()))
    share = float(first.fake.mean()) if len(first.fake) else 0.0
    plots.precision_recall(
        {title: _recalls(item) for title, item in ranked.items()}, share, folder / "precision_recall.png"
    )
    plots.reliability({title: _bars(item) for title, item in judged.items()}, folder / "reliability.png")
    cells = {title: summaries[0].confusion for title, summaries in report.summaries.items()}
    plots.confusion(
        {
            title: ((found.true_real, found.false_fake), (found.false_real, found.true_fake))
            for title, found in cells.items()
            if found is not None
        },
        folder / "confusion.png",
    )
    areas = {title: {row.condition.name: row.auc for row in rows} for title, rows in report.stress.items() if rows}
    if areas:
        plots.stress(
            {
                title: {name: (auc.value, auc.low, auc.high) for name, auc in found.items()}
                for title, found in areas.items()
            },
            folder / "stress.png",
        )
    else:
        (folder / "stress.png").unlink(missing_ok=True)


def _rates(judged: Judged) -> tuple[list[float], list[float]]:
    false_positives, true_positives = metrics.roc(judged)
    return false_positives.tolist(), true_positives.tolist()


def _recalls(judged: Judged) -> tuple[list[float], list[float]]:
    precisions, recalls = metrics.precision_recall(judged)
    return recalls.tolist(), precisions.tolist()


def _bars(judged: Judged) -> list[tuple[float, float, float]]:
    total = max(float(judged.weights.sum()), 1.0)
    return [(item.mean_score, item.share_fake, item.count / total) for item in metrics.reliability(judged)]
