"""`deepfake-edge convert MODEL`: a trained model becomes a verified bundle, or nothing does."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.tables import table

if TYPE_CHECKING:
    from deepfake_edge.converters import ConversionReport
    from deepfake_edge.converters.fit import Fit, LabelledClip

_SHOWN_FITS = 5


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("convert", help="a trained model becomes a bundle (needs the convert extra)")
    parser.add_argument(
        "source", type=Path, metavar="MODEL",
        help=".keras or .h5 model, weights of a --family, .onnx, or a SavedModel's folder with --trust-source",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="BUNDLE", help="default: MODEL's name with .dfe, here")
    parser.add_argument(
        "--family", metavar="NAME[:SIZE=N,...]", help="the architecture, e.g. xception-lstm, resnet-lstm:units=128"
    )
    parser.add_argument("--classes", metavar="NAMES", help="what each output means: real,fake or fake,real; fake; real")
    parser.add_argument(
        "--spec", action="append", default=[], metavar="KEY=VALUE", help="what the model expects, e.g. sample_fps=25"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH", help="your own clips, images or face crops to prove parity on"
    )
    parser.add_argument(
        "--check", action="append", default=[], type=Path, metavar="CLIP",
        help="a clip of known truth: which class order, pixel values and colour order fit it best?",
    )  # fmt: skip
    parser.add_argument(
        "--check-label", action="append", default=[], choices=("real", "fake"), help="its truth; one for each --check"
    )
    parser.add_argument(
        "--fused", action="store_true", help="convert a clip model whole where it cannot be cut; slow at every verdict"
    )
    parser.add_argument(
        "--trust-source", action="store_true", help="accept a SavedModel, which is a program that will be run"
    )
    parser.add_argument("--memory-limit", type=float, metavar="GIB", help="for the conversion process (default: 12)")
    parser.add_argument("--time-limit", type=int, metavar="SECONDS", help="for the conversion process (default: 3600)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert and print what came of it."""
    from deepfake_edge.converters import ConvertOptions, convert
    from deepfake_edge.converters.convert import model_name

    output = arguments.output or Path(f"{model_name(arguments.source)}.dfe")
    options = ConvertOptions(
        family=arguments.family,
        calibration=arguments.calibration,
        overrides=_overrides(arguments.spec, arguments.classes),
        fused=arguments.fused,
        trust_source=arguments.trust_source,
        checks=_checks(arguments.check, arguments.check_label),
        limits=_limits(arguments.memory_limit, arguments.time_limit),
        progress=None if arguments.quiet else lambda step: print(step, file=sys.stderr, flush=True),
    )
    print_report(convert(arguments.source, output, options))
    return 0


def print_report(report: ConversionReport) -> None:
    """Print what a conversion found, proved and wrote."""
    rows = [(key, value, origin) for key, value, origin in report.spec_rows()]
    print(table(rows, ("the model expects", "", "from")))
    print(f"\nfake is {report.spec.fake_output}")
    print()
    figures = [(key, str(value)) for key, value in sorted(report.parity.items())]
    print(table(figures, ("parity with the source", "fp32")))
    if report.fits:
        print()
        print(table(_fit_rows(report.fits), ("labelled clips read as", "colour", "classes", "right", "log-loss", "")))
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"\nwrote {report.path} ({report.path.stat().st_size / 1e6:.1f} MB, sha256 {report.sha256})")


def _fit_rows(fits: Sequence[Fit]) -> list[tuple[str, ...]]:
    shown = [fit for place, fit in enumerate(fits) if place < _SHOWN_FITS or fit.chosen]
    return [
        (
            fit.pixels,
            fit.crop.channel_order,
            ",".join(fit.classes),
            f"{fit.right} of {fit.clips}",
            f"{fit.log_loss:.3f}",
            "as written" if fit.chosen else "",
        )
        for fit in shown
    ]


def _overrides(pairs: list[str], classes: str | None) -> dict[str, str]:
    overrides: dict[str, str] = {} if classes is None else {"classes": classes}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"--spec: wanted KEY=VALUE, got {pair!r}")
        if key.strip() in overrides:
            raise InvalidInput(f"--spec: {key.strip()} is given twice")
        overrides[key.strip()] = value.strip()
    return overrides


def _checks(clips: list[Path], labels: list[Any]) -> tuple[LabelledClip, ...]:
    if len(clips) != len(labels):
        raise InvalidInput(f"--check: {len(clips)} clips and {len(labels)} labels; give --check-label for each --check")
    return tuple(zip(clips, labels, strict=True))


def _limits(memory_gib: float | None, time_s: int | None) -> Any:
    from deepfake_edge.converters import Limits

    limits: dict[str, int] = {}
    if memory_gib is not None:
        if not math.isfinite(memory_gib):
            raise InvalidInput(f"--memory-limit: wanted a number of GiB, got {memory_gib}")
        limits["memory_bytes"] = int(memory_gib * 1024**3)
    if time_s is not None:
        limits["wall_s"] = time_s
    return Limits(**limits)
