"""Figures as pictures: learning curves, ROC, precision and recall, reliability, confusion, stress.

Drawn without a display, in colours that people with any colour vision can tell apart (Okabe and Ito, 2008).
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from deepfake_edge.optional import require
from deepfake_edge.sealed import write_atomically

Interval: TypeAlias = tuple[float | None, float | None, float | None]

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY = "#999999"
_DPI = 120
_PANEL = (4.6, 3.6)
_LEGEND_ROW = 0.2
_TITLE_LETTERS = 32
_VALIDATION = "val_"


def curves(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Learning curves: a panel a figure, with its `val_` twin in it.

    Args:
        history: by name, one number an epoch, all of one length; NaN leaves a gap.
        path: a PNG file, overwritten.
    Raises:
        MissingDependency: matplotlib is not installed.
        OSError: it cannot be written.
    """
    names = list(dict.fromkeys(name.removeprefix(_VALIDATION) for name in history)) or [""]
    columns = min(len(names), 3)
    with _figure(path, math.ceil(len(names) / columns), columns) as panels:
        for panel, name in zip(panels, names, strict=False):
            for key, label in ((name, "training"), (f"{_VALIDATION}{name}", "validation")):
                if key in history:
                    epochs = range(1, len(history[key]) + 1)
                    panel.plot(epochs, history[key], ".-", label=label, color=_COLOURS[key != name])
            panel.set(title=name.replace("_", " "), xlabel="epoch")
            panel.xaxis.get_major_locator().set_params(integer=True)
            if name:
                panel.legend()


def roc(lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Receiver operating characteristics.

    Args:
        lines: by the model's title: false positive rates, true positive rates.
        path: as for `curves`, also below.
    """
    with _figure(path, size=_tall(len(lines))) as (panel,):
        panel.plot((0, 1), (0, 1), ":", color=_GREY, label="chance")
        for style, (title, (false_positives, true_positives)) in zip(_styles(len(lines)), lines.items(), strict=False):
            panel.plot(false_positives, true_positives, label=title, **style)
        _unit(panel, "ROC over videos", "real videos called fake", "fakes called fake")


def precision_recall(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], share_fake: float, path: Path
) -> None:
    """Precision over recall.

    Args:
        lines: by the model's title: recalls, precisions.
        share_fake: of all videos; what chance gives.
        path: see `roc`.
    """
    with _figure(path, size=_tall(len(lines))) as (panel,):
        panel.axhline(share_fake, linestyle=":", color=_GREY, label="chance")
        for style, (title, (recalls, precisions)) in zip(_styles(len(lines)), lines.items(), strict=False):
            panel.step(recalls, precisions, where="post", label=title, **style)
        _unit(panel, "Precision and recall over videos", "recall", "precision")


def reliability(bars: Mapping[str, Sequence[tuple[float, float, float]]], path: Path) -> None:
    """Reliability diagram.

    Args:
        bars: by the model's title: of each bin the mean score, the share of fakes, and the share of all scores.
        path: see `roc`.
    """
    with _figure(path, size=_tall(len(bars))) as (panel,):
        panel.plot((0, 1), (0, 1), ":", color=_GREY, label="calibrated")
        for style, (title, bins) in zip(_styles(len(bars)), bars.items(), strict=False):
            filled = [each for each in bins if each[2] > 0]
            scores, shares, weights = zip(*filled, strict=True) if filled else ((), (), ())
            panel.plot(scores, shares, "-", **style)
            areas = [(15 + 250 * weight) * style["linewidth"] for weight in weights]
            panel.scatter(scores, shares, areas, color=style["color"], label=title)
        _unit(panel, "Reliability (area: share of videos)", "mean fake score", "share of fakes")


def confusion(cells: Mapping[str, tuple[tuple[float, float], tuple[float, float]]], path: Path) -> None:
    """Confusion matrices, a panel a model.

    Args:
        cells: by the model's title: rows are the truth, columns the label, real before fake.
        path: see `roc`.
    """
    columns = min(max(len(cells), 1), 4)
    with _figure(path, max(math.ceil(len(cells) / columns), 1), columns) as panels:
        for panel, (title, rows) in zip(panels, cells.items(), strict=False):
            totals = [max(sum(row), 1.0) for row in rows]
            shares = [[cell / total for cell in row] for row, total in zip(rows, totals, strict=True)]
            panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
            for truth, row in enumerate(rows):
                for label, cell in enumerate(row):
                    colour = "white" if shares[truth][label] > 0.5 else "black"
                    panel.text(label, truth, f"{cell:g}", ha="center", va="center", color=colour, fontsize=14)
            panel.set(title="\n".join(textwrap.wrap(title, _TITLE_LETTERS)), xlabel="called", ylabel="is")
            panel.set_xticks((0, 1), ("real", "fake"))
            panel.set_yticks((0, 1), ("real", "fake"))


def stress(values: Mapping[str, Mapping[str, Interval]], path: Path) -> None:
    """Areas under the ROC curve, a group of bars a condition.

    Args:
        values: by the model's title, by the condition: area, lower and upper end of its interval; all have the same
            conditions. None leaves the bar, or its interval, out.
        path: see `roc`.
    """
    conditions = list(next(iter(values.values()), {}))
    height = 0.8 / max(len(values), 1)
    height_in = 1.2 + 0.22 * len(conditions) * max(len(values), 2) + _LEGEND_ROW * len(values)
    with _figure(path, size=(6.4, height_in)) as (panel,):
        for number, (colour, (title, areas)) in enumerate(zip(_colours(), values.items(), strict=False)):
            places = [place + (number + 0.5) * height - 0.4 for place in range(len(conditions))]
            panel.barh(places, [areas[name][0] or 0.0 for name in conditions], height, color=colour, label=title)
            for place, name in zip(places, conditions, strict=True):
                _, low, high = areas[name]
                if low is not None and high is not None:
                    panel.plot((low, high), (place, place), color="black", linewidth=1)
        panel.axvline(0.5, linestyle=":", color=_GREY, label="chance")
        panel.set_yticks(range(len(conditions)), conditions)
        panel.invert_yaxis()
        panel.set(title="AUC over videos (line: 95 % interval)", xlim=(0, 1))
        _legend_below(panel, -0.7 / height_in)


@contextmanager
def _figure(
    path: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] | None = None
) -> Iterator[Sequence[Any]]:
    """Panels to draw on, row by row; the picture is written when the block ends well."""
    figure = require("matplotlib.figure", extra="train").Figure(
        figsize=size or (_PANEL[0] * columns, _PANEL[1] * rows), layout="constrained"
    )
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    yield list(panels)
    for panel in panels:
        panel.set_visible(panel.has_data())
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=_DPI)
    write_atomically(data.getvalue(), path)


def _unit(panel: Any, title: str, across: str, up: str) -> None:
    panel.set(title=title, xlabel=across, ylabel=up, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    _legend_below(panel, -0.2)


def _tall(count: int) -> tuple[float, float]:
    """Inches of a panel that has a legend of so many lines, and one for chance, below it."""
    return _PANEL[0], _PANEL[1] + _LEGEND_ROW * (count + 1)


def _legend_below(panel: Any, place: float) -> None:
    """A legend that covers nothing: titles may be long, and models many; `place` is in heights of the panel."""
    panel.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, place), frameon=False)


def _styles(count: int) -> Iterator[dict[str, Any]]:
    """Later lines are thinner: where lines lie on one another, all can be seen."""
    for number, colour in zip(range(count), _colours(), strict=False):
        yield {"color": colour, "linewidth": 1.2 + 1.6 * (count - 1 - number) / max(count - 1, 1)}


def _colours() -> Iterator[str]:
    while True:
        yield from _COLOURS
