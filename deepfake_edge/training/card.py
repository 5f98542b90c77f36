"""A model card from what a run and its evaluations have written.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

What nobody can read from files (what the model is for, whose clips it learnt from, what it must not be used for) comes
from a JSON file beside them:

    {"title": ..., "notice": ..., "data": [{"name", "clips", "licence", "credit"}, ...], "limits": [..., ...]}
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_edge.errors import InvalidInput

_FIGURES = {
    "auc": "AUC", "accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "eer": "EER",
    "average_precision": "average precision", "ece": "ECE",
}  # fmt: skip
# What a reader may look for, and the key of a model in a report that has it.
_MAY_BE_MISSING = {"stress": "robustness against compression, size, blur, darkness, noise and lost frames"}
_UNMEASURED = "**Not measured**"


@dataclass(frozen=True, slots=True)
class Source:
    """Clips that a model learnt from.

    Attributes:
        name: of the data set.
        clips: which of it.
        licence: of the clips.
        credit: as the licence asks for it.
    """

    name: str
    clips: str
    licence: str
    credit: str


@dataclass(frozen=True, slots=True)
class About:
    """What only its makers can say of a model.

    Attributes:
        title: its name.
        notice: stands in bold at the top.
        data: what it learnt from.
        limits: what it cannot do, or must not be used for.
    """

    title: str
    notice: str
    data: tuple[Source, ...]
    limits: tuple[str, ...]


def read_about(path: Path) -> About:
    """Read what the makers say. Raises InvalidInput: it cannot be read, or lacks a part."""
    found = _read(path)
    try:
        data = tuple(Source(**source) for source in found["data"])
        return About(found["title"], found["notice"], data, tuple(found["limits"]))
    except (KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path}: wanted title, notice, limits, and data with name, clips, licence and credit each; found {error}"
        ) from error


def make_card(about: About, run: Path, reports: Sequence[Path]) -> str:
    """A model's card, in Markdown.

    Args:
        about: what its makers say.
        run: the folder that `deepfake-edge train` made.
        reports: the `report.json` of evaluations of it; without any, nothing is measured.
    Raises:
        InvalidInput: a file cannot be read, or lacks what the card is made of.
    """
    config, done = _read(run / "config.json"), _read(run / "done.json")
    evaluations = {path: _read(path) for path in reports}
    sections: list[Iterator[str]] = []
    try:
        sections = [_model(config), _data(about, config), _training(config, done)]
        sections += [_evaluation(found) for found in evaluations.values()]
        lines = [f"# {about.title}", "", f"**{about.notice}**"]
        for section in sections:
            lines += ["", *section]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{run}: the run or a report of it lacks {error}; make them with this version") from error
    lines += ["", "## Limits", *(f"- {limit}" for limit in about.limits), *_missing(list(evaluations.values()))]
    return "\n".join(lines) + "\n"


def _model(config: Mapping[str, Any]) -> Iterator[str]:
    spec = config["spec"]
    crop, clip = spec["crop"], spec["clip"]
    yield "## Model"
    yield f"- Family: `{config['options']['family']}`"
    rate = "" if clip["sample_fps"] is None else f" at {clip['sample_fps']:g} a second"
    yield f"- Window: {clip['frames']} crops of {crop['size_px']} px{rate}, {crop['margin']:g} times the face's box"
    yield f"- Output: {spec['activation']} of {', '.join(spec['classes'])}; fake from {spec['threshold']:g}"


def _data(about: About, config: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training data"
    yield "| data | clips | licence | credit |"
    yield "|---|---|---|---|"
    for source in about.data:
        yield f"| {source.name} | {source.clips} | {source.licence} | {source.credit} |"
    yield ""
    counts = "; ".join(
        f"{split}: {labels['real']} real, {labels['fake']} fake" for split, labels in config["clips"].items()
    )
    share = config["options"]["feed"]["self_blended"]
    yield f"Clips: {counts}. Share of self-blended fakes among the fakes: {share:g}."
    yield f"Digest of the prepared clips: sha256 {config['data_sha256']}."


def _training(config: Mapping[str, Any], done: Mapping[str, Any]) -> Iterator[str]:
    options, best = config["options"], done["best"]
    stages = ", ".join(f"{stage['kind']} {stage['epochs']}" for stage in options["stages"])
    yield "## Training"
    yield f"- Stages (epochs at most): {stages}; {done['epochs']} epochs in {done['spent_s'] / 60:.0f} minutes"
    yield (
        f"- Adam, rate {options['rate']:g} ({options['schedule']}), label smoothing {options['smoothing']:g}, batch "
        f"{options['feed']['batch']}, seed {config['seed']}"
    )
    yield (
        f"- Best epoch by validation {options['watch']}: {best['epoch']} (loss {best['val_loss']:.4f}, AUC "
        f"{best['val_auc']:.4f} on the validation clips)"
    )


def _evaluation(report: Mapping[str, Any]) -> Iterator[str]:
    data, level = report["data"], report["intervals"]["level"]
    yield f"## Figures: {Path(data['folder']).name}, {data['split']}"
    yield f"In brackets: {level:.0%} intervals by bootstrap over videos."
    for model in report["models"]:
        yield from (
            "",
            f"### {model['title']}",
            f"`{model['precision']}` on {model['runtime']}, sha256 {model['sha256']}",
        )
        yield from ("", "| figure | videos | windows |", "|---|---|---|")
        videos, windows, *groups = model["summaries"]
        yield f"| real, fake | {videos['real']}, {videos['fake']} | {windows['real']}, {windows['fake']} |"
        for key, name in _FIGURES.items():
            yield f"| {name} | {_value(videos['figures'][key])} | {_value(windows['figures'][key])} |"
        if groups:
            yield from ("", "| fakes | real, fake videos | AUC over videos |", "|---|---|---|")
        for group in groups:
            name = " ".join(filter(None, (group["dataset"], group["manipulation"])))
            yield f"| {name} | {group['real']}, {group['fake']} | {_value(group['figures']['auc'])} |"
        yield from _stress(model["stress"])
        if silent := model["no_verdict"]:
            yield from ("", f"{len(silent)} of {model['clips']} clips have no verdict and no part in this.")
        figures = [figure for summary in model["summaries"] for figure in summary["figures"].values()]
        reasons = dict.fromkeys(figure["reason"] for figure in figures if figure["reason"])
        if reasons:
            yield from ("", *(f"- {reason}" for reason in reasons))


def _stress(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if rows:
        yield from ("", "| condition | AUC over videos | other labels than clean |", "|---|---|---|")
    for row in rows:
        auc = "not measured" if row["auc"] is None else f"{row['auc']:.3f}"
        yield f"| {row['condition']} | {auc} | {row['flips']} of {row['videos']} |"


def _missing(reports: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    models = [model for report in reports for model in report["models"]]
    if not models:
        yield f"- {_UNMEASURED}: how often it is right, on anything."
    for key, words in _MAY_BE_MISSING.items():
        if not any(model[key] for model in models):
            yield f"- {_UNMEASURED}: {words}."


def _value(figure: Mapping[str, Any]) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None:
        return "not measured"
    if low is None or high is None:
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path}: wanted an object, found {type(found).__name__}")
    return found
