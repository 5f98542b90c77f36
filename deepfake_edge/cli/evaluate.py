"""`deepfake-edge evaluate MODEL... --data PREPARED`: figures with their uncertainty, and what stress does to them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_edge.cli.convert import spec_overrides
from deepfake_edge.cli.options import add_runtime_arguments
from deepfake_edge.cli.progress import Progress
from deepfake_edge.detector import Detector
from deepfake_edge.errors import InvalidInput
from deepfake_edge.runtime_choice import RuntimeOptions
from deepfake_edge.sealed import write_atomically
from deepfake_edge.tables import printable, table

if TYPE_CHECKING:
    from deepfake_edge.training.evaluating.loading import Wanted
    from deepfake_edge.training.evaluating.report import Report

_RESAMPLES = 1000
_BUNDLE, _ENSEMBLE = ".dfe", ".json"
_ALL = "all"

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("evaluate", help="how good are models? (needs the train extra)")
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="bundles (.dfe), .keras or .h5 files")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", type=Path, metavar="PREPARED", help="a folder made by `prepare`")
    data.add_argument("--videos", type=Path, metavar="FOLDER", help="raw videos, as for `prepare`; for bundles alone")
    parser.add_argument(
        "--split", choices=("train", "val", "test", _ALL),
        help="default: test; with --calibrate val; with --videos all, whatever their split",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="for report.json, report.md and pictures")
    parser.add_argument("--json", metavar="FILE", help="all figures as one JSON object; - is stdout")
    parser.add_argument("--stress", action="store_true", help="also under compression, blur, noise and the like")
    parser.add_argument("--resamples", type=int, default=_RESAMPLES, metavar="N", help="of the bootstrap; 1000 or more")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap")
    _add_calibration(parser.add_argument_group("calibration"))
    _add_videos(parser.add_argument_group("raw videos"))
    _add_reading(parser.add_argument_group("how models run"))
    parser.set_defaults(run=run)


def _add_calibration(group: Any) -> None:
    group.add_argument("--calibrate", action="store_true", help="fit a temperature, and write it into the one bundle")
    group.add_argument(
        "--write", type=Path, metavar="BUNDLE", help="the calibrated bundle (default: the bundle itself)"
    )
    group.add_argument(
        "--run", type=Path, metavar="RUN", help="what trained it: its training clips are refused", dest="trained_by"
    )


def _add_videos(group: Any) -> None:
    group.add_argument("--kind", metavar="LAYOUT", help="as for `prepare`")
    group.add_argument("--compression", metavar="NAME", help="of FaceForensics++, as for `prepare`")
    group.add_argument("--splits", metavar="MODE", help="where --split names one, as for `prepare`")
    group.add_argument("--faces", default="auto", metavar="FINDER", help="as for `detect`")


def _add_reading(group: Any) -> None:
    group.add_argument("--family", metavar="NAME[:SIZE=N,...]", help="of Keras files, as for `convert`")
    group.add_argument("--classes", metavar="NAMES", help="of Keras files, as for `convert`")
    group.add_argument(
        "--spec", action="append", default=[], metavar="KEY=VALUE", help="of Keras files, as for `convert`"
    )
    add_runtime_arguments(group, precision="of bundles, e.g. fp32,int8 (default: all that each one has)")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the report; returns 0."""
    from deepfake_edge.training.evaluating.writing import check_file, check_folder, json_bytes, write_report

    _check(arguments)
    if arguments.split is None:
        arguments.split = _ALL if arguments.videos is not None else "val" if arguments.calibrate else "test"
    if arguments.calibrate and arguments.write is None:
        (arguments.write,) = arguments.models
    if arguments.output is not None:
        check_folder(arguments.output)
    for file in (None if arguments.json == "-" else arguments.json, arguments.write):
        if file is not None:
            check_file(Path(file))
    report = _on_videos(arguments) if arguments.videos is not None else _on_prepared(arguments)
    if arguments.json == "-":
        sys.stdout.write(json_bytes(report).decode())
    else:
        print_report(report)
        if arguments.json is not None:
            write_atomically(json_bytes(report), arguments.json)
    if arguments.output is not None:
        write_report(report, arguments.output)
        logger.info("%s", printable(f"wrote {arguments.output}/report.md"))
    return 0


def print_report(report: Report) -> None:
    """Print every table, and what must be known of them."""
    from deepfake_edge.training.evaluating.tables import notes, sheets

    for sheet in sheets(report):
        print(f"{printable(sheet.title)}\n{table(sheet.rows, sheet.header)}\n")
    for note in notes(report):
        print(printable(f"note: {note}"))
    if found := report.calibration:
        print(printable(f"\nwrote {found['file']} (sha256 {found['sha256']}); engines of it must be built anew"))


def _check(arguments: argparse.Namespace) -> None:
    on_videos = arguments.videos is not None
    if on_videos and (arguments.stress or arguments.calibrate):
        raise InvalidInput("--stress and --calibrate go with --data alone; prepare the videos first")
    if any(path.suffix == _ENSEMBLE for path in arguments.models):
        raise InvalidInput("models: an ensemble is not evaluated as one model; name its bundles (.dfe)")
    if on_videos and any(path.suffix != _BUNDLE for path in arguments.models):
        raise InvalidInput("--videos goes through the whole detector, which takes bundles (.dfe) alone; convert first")
    if not on_videos and (arguments.split == _ALL or _layout(arguments)):
        raise InvalidInput("--split all, --kind, --compression and --splits go with --videos alone")
    if on_videos and arguments.splits is not None and arguments.split in (None, _ALL):
        raise InvalidInput("--splits: all clips are taken, whatever their split; name a --split")
    if arguments.calibrate and (len(arguments.models) != 1 or arguments.models[0].suffix != _BUNDLE):
        raise InvalidInput("--calibrate: wanted one bundle (.dfe)")
    if not arguments.calibrate and (arguments.write is not None or arguments.trained_by is not None):
        raise InvalidInput("--write and --run go with --calibrate alone")


def _on_prepared(arguments: argparse.Namespace) -> Report:
    from deepfake_edge.training.evaluating.answers import ask_all, left_out, records_sha256
    from deepfake_edge.training.evaluating.bootstrap import Resampling
    from deepfake_edge.training.evaluating.calibrated import calibrate, check_unseen
    from deepfake_edge.training.evaluating.loading import load_predictors
    from deepfake_edge.training.evaluating.report import Evaluated, make_report, told_of
    from deepfake_edge.training.evaluating.stress import CONDITIONS
    from deepfake_edge.training.preparing.prepared import read_prepared

    how = Resampling(arguments.resamples, arguments.seed)
    prepared = read_prepared(arguments.data)
    if arguments.calibrate:
        check_unseen(arguments.models[0], arguments.trained_by, prepared, arguments.split)
    conditions = CONDITIONS if arguments.stress else ()
    with ExitStack() as stack:
        predictors = load_predictors(arguments.models, _wanted(arguments), stack)
        with _progress("evaluate") as progress:
            answered = ask_all(predictors, prepared, arguments.split, conditions, progress)
    models = [
        Evaluated(each.identity, each.spec, each.scores(), {item.name: each.scores(item.name) for item in conditions})
        for each in answered
    ]
    data = {
        **told_of(arguments.data, arguments.split, [clip.entry for clip in prepared.of(arguments.split)]),
        "left_out": left_out(prepared, arguments.split),
        "sha256": records_sha256(prepared, arguments.split),
        "face_pictures": asdict(prepared.settings),
    }
    calibration = None
    if arguments.calibrate:
        where = f"{data['name']}, split {arguments.split}"
        calibration = calibrate(arguments.models[0], arguments.write, answered[0], where, how)
    return make_report(data, models, conditions, how, calibration)


def _on_videos(arguments: argparse.Namespace) -> Report:
    from deepfake_edge.training.datasets.reading import ReadOptions
    from deepfake_edge.training.evaluating.bootstrap import Resampling
    from deepfake_edge.training.evaluating.loading import titles_of
    from deepfake_edge.training.evaluating.report import make_report, told_of
    from deepfake_edge.training.evaluating.videos import evaluate_videos, read_videos

    how = Resampling(arguments.resamples, arguments.seed)
    titles = titles_of(arguments.models)
    dataset = read_videos(arguments.videos, arguments.split, ReadOptions(**_layout(arguments)))
    for note in dataset.notes:
        logger.info("%s", printable(f"note: {note}"))
    models = []
    for path, title in zip(arguments.models, titles, strict=True):
        for precision in _precisions(arguments) or (None,):
            with _detector(arguments, path, precision) as detector, _progress(title) as progress:
                models.append(evaluate_videos(detector, path, title, dataset, progress))
    data = {
        **told_of(arguments.videos, "all clips" if arguments.split == _ALL else arguments.split, dataset.entries),
        "left_out": [],
        "faces": arguments.faces,
        "notes": list(dataset.notes),
    }
    return make_report(data, models, (), how)


def _layout(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the user says of how the videos lie in their folder."""
    given = {name: getattr(arguments, name) for name in ("kind", "compression", "splits")}
    return {name: value for name, value in given.items() if value is not None}


def _detector(arguments: argparse.Namespace, path: Path, precision: str | None) -> Detector:
    return Detector(
        path,
        faces=arguments.faces,
        runtime=arguments.runtime,
        precision=precision,
        threads=arguments.threads,
        device=arguments.device,
    )


def _wanted(arguments: argparse.Namespace) -> Wanted:
    from deepfake_edge.training.evaluating.loading import Wanted

    overrides = spec_overrides(arguments.spec, arguments.classes)
    runtime = RuntimeOptions(arguments.runtime, None, arguments.threads, arguments.device)
    return Wanted(runtime, _precisions(arguments), overrides, arguments.family)


def _precisions(arguments: argparse.Namespace) -> tuple[str, ...] | None:
    """What --precision names, each once."""
    if arguments.precision is None:
        return None
    return tuple(dict.fromkeys(name.strip() for name in arguments.precision.split(",")))


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    line = Progress(title)
    try:
        yield line
    finally:
        line.end()
