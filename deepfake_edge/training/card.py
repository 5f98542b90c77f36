"""A model card from what a run and its evaluations have written.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.

What nobody can read from files (what the model is for, whose clips it learnt from, what it must not be used for) comes
from a JSON file beside them:

    {"title": ..., "notice": ..., "data": [{"name", "clips", "licence", "credit"}, ...], "limits": [..., ...],
     "evaluated": {"name of a folder that was evaluated": "whose clips they are", ...}}

`evaluated` may be left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.tables import printable
from deepfake_edge.training.card_figures import figures, missing
from deepfake_edge.training.evaluating.report import FORMAT
from deepfake_edge.training.evaluating.tables import cell

_SELF_BLEND = "a face blended into a slightly changed copy of itself; Shiohara and Yamasaki, CVPR 2022"


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
        evaluated: whose clips it was evaluated on, by the names of their folders.
    """

    title: str
    notice: str
    data: tuple[Source, ...]
    limits: tuple[str, ...]
    evaluated: Mapping[str, str]


def read_about(path: Path) -> About:
    """Read what the makers say. Raises InvalidInput: it cannot be read, or lacks a part."""
    found = _read(path)
    try:
        data = tuple(Source(**{name: _text(value) for name, value in source.items()}) for source in found["data"])
        if not isinstance(found["limits"], list):
            raise TypeError(f"limits {found['limits']!r}")
        limits = tuple(_text(limit) for limit in found["limits"])
        evaluated = {name: _text(words) for name, words in found.get("evaluated", {}).items()}
        return About(_text(found["title"]), _text(found["notice"]), data, limits, evaluated)
    except (KeyError, TypeError, AttributeError) as error:
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
        InvalidInput: a file cannot be read, or lacks what the card is made of; a report is of another model.
    """
    config = _read(run / "config.json")
    if not (run / "done.json").is_file():
        raise InvalidInput(f"{run}: the run has not ended (it has no done.json); end it with `train --resume`")
    done, evaluations = _read(run / "done.json"), [_read(path) for path in reports]
    try:
        for path, found in zip(reports, evaluations, strict=True):
            _check(path, found, run / "best.keras")
        if unknown := set(about.evaluated) - {found["data"]["name"] for found in evaluations}:
            raise InvalidInput(f"evaluated: no report is of {', '.join(sorted(unknown))}")
        lines = [f"# {about.title}", "", f"**{about.notice}**"]
        for section in (
            _model(config),
            _data(about, config),
            _training(config, done),
            figures(evaluations, about.evaluated),
        ):
            lines += ["", *section]
        lines += ["", "## Limits", *(f"- {limit}" for limit in about.limits), *missing(evaluations)]
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"{run}: the run or a report of it lacks {error}; make them with this version") from error
    return "\n".join(map(printable, lines)) + "\n"


def _check(path: Path, report: Mapping[str, Any], trained: Path) -> None:
    """Refuse a report of another format, and figures of a model that is not what the run trained."""
    if report["format"] != FORMAT:
        raise InvalidInput(
            f"{path}: wanted a report of format {FORMAT}, found {report['format']!r}; evaluate the model again"
        )
    try:
        sha256 = hashlib.sha256(trained.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"{trained}: cannot be read: {error.strerror}") from error
    others = [model["title"] for model in report["models"] if model["source_sha256"] != sha256]
    if others:
        raise InvalidInput(f"{path}: {', '.join(others)}: is not {trained}, and was not converted from it")


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
        yield f"| {cell(source.name)} | {cell(source.clips)} | {cell(source.licence)} | {cell(source.credit)} |"
    yield ""
    counts = "; ".join(
        f"{split}: {labels['real']} real, {labels['fake']} fake" for split, labels in config["clips"].items()
    )
    yield f"Clips: {counts}."
    share = config["options"]["feed"]["self_blended"]
    if share == 1.0:
        yield f"All fakes in training are self-blends of the real clips ({_SELF_BLEND}); fake clips had no part in it."
    elif share:
        yield f"Share of self-blends of real clips among the fakes: {share:g} ({_SELF_BLEND})."
    yield f"Digest of the prepared clips: sha256 {config['data_sha256']}."


def _training(config: Mapping[str, Any], done: Mapping[str, Any]) -> Iterator[str]:
    options, best = config["options"], done["best"]
    seen = _validated(options["feed"]["self_blended"])
    stages = ", ".join(
        f"{stage['kind']} {stage['epochs']}" + ("" if stage["rate"] is None else f" at rate {stage['rate']:g}")
        for stage in options["stages"]
    )
    yield "## Training"
    yield f"- Stages (epochs at most): {stages}; {done['epochs']} epochs in {done['spent_s'] / 60:.0f} minutes"
    yield (
        f"- Adam, rate {options['rate']:g} ({options['schedule']}), label smoothing {options['smoothing']:g}, batch "
        f"{options['feed']['batch']}, seed {config['seed']}"
        + ("" if options["average"] is None else f"; the weights' moving average, momentum {options['average']:g}")
    )
    changes = dict(options["feed"]["augment"])
    strength = changes.pop("strength")
    shares = ", ".join(f"{name} {share:g}" for name, share in changes.items() if share)
    yield f"- Augmentation, share of windows: {shares or 'none'}" + (f"; strength {strength:g}" if shares else "")
    figures = f"loss {best['val_loss']:.4f} over windows, AUC {best['val_auc']:.4f} over clips: {seen}"
    if options["watch"] == "last":
        yield f"- Last epoch, taken as it is: {best['epoch']} ({figures})"
    else:
        chose = "they chose the epoch, so these are rather too good"
        yield f"- Best epoch by validation {options['watch']}: {best['epoch']} ({figures}; {chose})"


def _validated(share: float) -> str:
    """What an epoch was validated on; see `feeding.still_feed.StillFeed`."""
    blends = "one fixed self-blend of each"
    if share == 0.0:
        return "the validation clips"
    return f"the real validation clips and {blends}" if share == 1.0 else f"the validation clips and {blends} real one"


def _text(found: Any) -> str:
    """A line of what the makers say. Raises TypeError."""
    if not isinstance(found, str):
        raise TypeError(f"{found!r} where a text was wanted")
    return found.replace("\n", " ")


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error})") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path}: wanted an object, found {type(found).__name__}")
    return found
