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
        "--precision", default="fp32", metavar="NAMES", help="what the bundle is to hold, of fp32,fp16,int8"
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH",
        help="your own clips, images or face crops, real and fake, to prove parity on; int8 is calibrated on a part",
    )  # fmt: skip
    parser.add_argument(
        "--gate", action="append", default=[], metavar="LIMIT=SHARE",
        help="what a lower precision may lose, e.g. int8.mean=0.03, int8.flips=0.01, fp16.max=0.01",
    )  # fmt: skip
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
    """Convert and print what came of it.

    Returns:
        0, or 1 where a precision that was asked for is not in the bundle.
    """
    from deepfake_edge.converters import ConvertOptions, convert
    from deepfake_edge.converters.options import model_name

    output = arguments.output or Path(f"{model_name(arguments.source)}.dfe")
    options = ConvertOptions(
        family=arguments.family,
        calibration=arguments.calibration,
        precisions=tuple(name.strip() for name in arguments.precision.split(",")),
        gates=_pairs("--gate", arguments.gate),
        overrides=spec_overrides(arguments.spec, arguments.classes),
        fused=arguments.fused,
        trust_source=arguments.trust_source,
        checks=_checks(arguments.check, arguments.check_label),
        limits=_limits(arguments.memory_limit, arguments.time_limit),
        progress=None if arguments.quiet else lambda step: print(step, file=sys.stderr, flush=True),
    )
    report = convert(arguments.source, output, options)
    print_report(report)
    return 1 if report.left_out else 0


def print_report(report: ConversionReport) -> None:
    """Print what a conversion found, proved and wrote."""
    rows = [(key, value, origin) for key, value, origin in report.spec_rows()]
    print(table(rows, ("the model expects", "", "from")))
    print(f"\nfake is {report.spec.fake_output}")
    print()
    print(table(_parity_rows(report), ("parity with the source", *report.variants)))
    print(f"on {report.parity['crops_are']}")
    if report.fits:
        print()
        print(table(_fit_rows(report.fits), ("labelled clips read as", "colour", "classes", "right", "log-loss", "")))
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for precision, reasons in report.left_out.items():
        print(f"error: {precision} does not pass and is left out: {'; '.join(reasons)}", file=sys.stderr)
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


def _parity_rows(report: ConversionReport) -> list[tuple[str, ...]]:
    """A row a figure, a column a variant."""
    figures = [variant.parity for variant in report.variants.values()]
    keys = sorted({key for each in figures for key in each} - {"crops_are"})
    return [(key, *(str(each.get(key, "-")) for each in figures)) for key in keys]


def spec_overrides(pairs: list[str], classes: str | None) -> dict[str, str]:
    """What --spec and --classes say, key to text. Raises InvalidInput: a key is given twice, or has no value."""
    given = _pairs("--spec", pairs)
    if classes is not None and "classes" in given:
        raise InvalidInput("--spec: classes is given twice")
    return given if classes is None else {"classes": classes, **given}


def _pairs(option: str, pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{option}: wanted KEY=VALUE, got {pair!r}")
        if key.strip() in found:
            raise InvalidInput(f"{option}: {key.strip()} is given twice")
        found[key.strip()] = value.strip()
    return found


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
