"""`deepfake-edge train PREPARED --family NAME -o RUN`: a prepared folder becomes a model."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_edge.cli.progress import Line, bar
from deepfake_edge.errors import InvalidInput
from deepfake_edge.tables import table

if TYPE_CHECKING:
    from deepfake_edge.training.fitting import Moment, Outcome, TrainOptions

_LOG = logging.getLogger(__name__)
# Of TrainOptions and FeedOptions: what is given on the command line, and nothing else, differs from their defaults.
_OWN = (
    "rate", "schedule", "warm_up", "smoothing", "average", "watch", "imagenet", "mixed", "logical_devices",
    "checkpoint_every",
)  # fmt: skip
_FED = ("batch", "seed", "windows", "self_blended", "blend_strength", "balance", "cache_mb")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("train", help="a prepared folder becomes a model (needs the train extra)")
    parser.add_argument("prepared", type=Path, nargs="?", metavar="PREPARED", help="made by `prepare`")
    parser.add_argument(
        "--family", metavar="NAME[:SIZE=N,...]", help="the architecture, e.g. mobile-gru, xception-lstm:frames=10"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="RUN", help="the run's folder, which must not exist yet")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run that stopped; PREPARED only where it was moved"
    )
    parser.add_argument(
        "--spec", action="append", default=[], metavar="KEY=VALUE", help="what the model is to expect, e.g. margin=1.3"
    )
    _add_course(parser.add_argument_group("how it learns"))
    _add_feed(parser.add_argument_group("what it is shown"))
    _add_machine(parser.add_argument_group("what it runs on"))
    parser.set_defaults(run=run)


def _add_course(group: Any) -> None:
    group.add_argument(
        "--stages", metavar="LIST",
        help="KIND:EPOCHS[@RATE],... of frames (the backbone alone, on single crops), head (all but the backbone) and "
        "all (default: all:20)",
    )  # fmt: skip
    group.add_argument("--rate", type=float, help="Adam's learning rate (default: 1e-3)")
    group.add_argument("--schedule", choices=("cosine", "constant"), help="of the rate, in each stage (cosine)")
    group.add_argument("--warm-up", type=float, metavar="SHARE", help="of a stage, while the rate rises (0.05)")
    group.add_argument("--smoothing", type=float, metavar="SHARE", help="of the labels in the loss (0)")
    group.add_argument(
        "--average", type=float, metavar="MOMENTUM", help="take a moving average of the weights, e.g. 0.99 (none)"
    )
    group.add_argument(
        "--watch", choices=("auc", "loss", "last"),
        help="which epoch is taken: the highest AUC of the validation clips, their lowest loss, or each stage's last, "
        "for so few people in val that the best is chance (auc)",
    )  # fmt: skip
    group.add_argument("--patience", type=int, metavar="EPOCHS", help="end a stage after so many not better (10)")
    group.add_argument("--no-early-stop", action="store_true", help="train every epoch of every stage")
    group.add_argument("--imagenet", action="store_true", default=None, help="start from ImageNet's weights")
    group.add_argument("--seed", type=int, metavar="N", help="of all that is drawn (0)")


def _add_feed(group: Any) -> None:
    group.add_argument("--batch", type=int, metavar="N", help="windows a step (8)")
    group.add_argument("--windows", type=int, metavar="N", help="of each clip in an epoch (1)")
    group.add_argument(
        "--self-blended", type=float, metavar="SHARE", help="of fakes that are blends of real clips; 1: all of them (0)"
    )
    group.add_argument("--blend-strength", type=float, metavar="N", help="how much their tones differ (1.5)")
    group.add_argument("--balance", choices=("sampling", "weights", "none"), help="of real and fake (sampling)")
    group.add_argument(
        "--augment", action="append", default=[], metavar="CHANGE=SHARE",
        help="share of windows changed so: crop, flip, turn, colour, exposure, shrink, sharpen, blur, noise, jpeg, "
        "video, frames; and strength=N of them all",
    )  # fmt: skip
    group.add_argument("--no-augment", action="store_true", help="windows as they are, but for the changes given")
    group.add_argument("--cache-mb", type=int, metavar="MIB", help="of decoded pictures that stay in memory (1024)")


def _add_machine(group: Any) -> None:
    group.add_argument("--mixed", action="store_true", default=None, help="half precision, for GPUs; saves float32")
    group.add_argument("--logical-devices", type=int, metavar="N", help="split the CPU, as if into several devices (1)")
    group.add_argument("--checkpoint-every", type=int, metavar="STEPS", help="and after each epoch (200)")


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on, and print what came of it."""
    from deepfake_edge.training.fitting import fit, resume
    from deepfake_edge.training.preparing.prepared import read_prepared

    shown = _Shown()
    try:
        if arguments.resume is not None:
            _refuse_with_resume(arguments)
            outcome = resume(arguments.resume, shown, arguments.prepared)
        else:
            if None in (arguments.prepared, arguments.family, arguments.output):
                raise InvalidInput("train: wanted PREPARED, --family NAME and -o RUN, or --resume RUN")
            outcome = fit(read_prepared(arguments.prepared), arguments.output, _options(arguments), shown)
    finally:
        shown.end()
    _print(outcome)
    return 0


class _Shown:
    """Tells a terminal how a training goes."""

    def __init__(self) -> None:
        self._line = Line("training")
        self._first: int | None = None

    def note(self, text: str) -> None:
        _LOG.info(text)

    def step(self, moment: Moment) -> None:
        if self._first is None:
            self._first = moment.done - 1
        left_s = self._line.elapsed_s / (moment.done - self._first) * (moment.total - moment.done)
        auc = "" if moment.auc is None else f"  AUC {moment.auc:.4f}"
        minutes, seconds = divmod(int(left_s), 60)
        self._line.show(
            f"{moment.stage} {moment.epoch} of {moment.epochs}  {bar(moment.done / moment.total)}  "
            f"loss {moment.loss:.4f}{auc}  {minutes}:{seconds:02} left at most"
        )

    def end(self) -> None:
        self._line.end()


def _options(arguments: argparse.Namespace) -> TrainOptions:
    from deepfake_edge.training.feeding.options import FeedOptions
    from deepfake_edge.training.fitting import TrainOptions, parse_stages

    given = _given(arguments, _OWN)
    if arguments.stages is not None:
        given["stages"] = parse_stages(arguments.stages)
    if arguments.patience is not None:
        if arguments.no_early_stop or arguments.watch == "last":
            other = "--no-early-stop" if arguments.no_early_stop else "--watch last"
            raise InvalidInput(f"--patience: with {other} no stage ends early; leave one of them out")
        given["patience"] = arguments.patience
    elif arguments.no_early_stop:
        given["patience"] = None
    feed = FeedOptions(**_given(arguments, _FED), augment=_augmentation(arguments))
    return TrainOptions(arguments.family, feed=feed, spec=_pairs("--spec", arguments.spec), **given)


def _augmentation(arguments: argparse.Namespace) -> Any:
    from deepfake_edge.training.feeding.options import Augmentation

    begin = Augmentation.none() if arguments.no_augment else Augmentation()
    changes: dict[str, float] = {"strength": 1.0} if arguments.no_augment and arguments.augment else {}
    for key, text in _pairs("--augment", arguments.augment).items():
        if key not in Augmentation.__slots__:
            raise InvalidInput(f"--augment: wanted one of {', '.join(Augmentation.__slots__)}, got {key!r}")
        try:
            changes[key] = float(text)
        except ValueError:
            raise InvalidInput(f"--augment: {key}: wanted a number, got {text!r}") from None
    return replace(begin, **changes)


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _pairs(option: str, pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or key.strip() in found:
            raise InvalidInput(f"{option}: wanted KEY=VALUE, each key once, got {pair!r}")
        found[key.strip()] = value.strip()
    return found


def _refuse_with_resume(arguments: argparse.Namespace) -> None:
    """A run goes on as it began. Raises InvalidInput."""
    lists = ("spec", "augment")
    named = ("family", "output", "stages", "patience", "no_early_stop", "no_augment", *lists, *_OWN, *_FED)
    given = [name for name in named if getattr(arguments, name) not in (None, False, [])]
    if given:
        options = ", ".join("--" + name.replace("_", "-") for name in given)
        raise InvalidInput(f"--resume: a run goes on as it began; leave out {options}")


def _print(outcome: Outcome) -> None:
    best = outcome.best
    rows = [
        ("last epoch" if outcome.watch == "last" else "best epoch", f"{best['epoch']} of {outcome.epochs}"),
        ("validation AUC", f"{best['val_auc']:.4f}"),
        ("validation accuracy", f"{best['val_accuracy']:.4f}"),
        ("validation loss", f"{best['val_loss']:.4f}"),
        ("time", f"{outcome.spent_s:.0f} s"),
        ("model", str(outcome.model)),
    ]
    print(table(rows))
    print(f"\n{outcome.convert}")
