"""`deepfake-edge convert MODEL`: a Keras model becomes a verified bundle, or nothing does."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_edge.cli.report import table
from deepfake_edge.errors import InvalidInput

if TYPE_CHECKING:
    from deepfake_edge.converters import ConversionReport


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("convert", help="a Keras model becomes a bundle (needs the convert extra)")
    parser.add_argument("source", type=Path, metavar="MODEL", help=".keras model, or .keras/.h5 weights with --family")
    parser.add_argument("-o", "--output", type=Path, metavar="BUNDLE", help="default: MODEL's name with .dfe, here")
    parser.add_argument("--family", metavar="NAME", help="the architecture: xception-lstm or meso4")
    parser.add_argument(
        "--calibration", type=Path, metavar="PATH", help="your own clips, images or face crops to prove parity on"
    )
    parser.add_argument(
        "--spec", action="append", default=[], metavar="KEY=VALUE", help="what the model expects, e.g. sample_fps=25"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert and print what came of it."""
    from deepfake_edge.converters import ConvertOptions, convert

    output = arguments.output or Path(f"{_stem(arguments.source)}.dfe")
    options = ConvertOptions(
        family=arguments.family,
        calibration=arguments.calibration,
        overrides=_overrides(arguments.spec),
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
    print(table([(key, str(value)) for key, value in sorted(report.parity.items())], ("parity with Keras", "fp32")))
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"\nwrote {report.path} ({report.path.stat().st_size / 1e6:.1f} MB, sha256 {report.sha256})")


def _stem(source: Path) -> str:
    return source.name.removesuffix(".weights.h5") if source.name.endswith(".weights.h5") else source.stem


def _overrides(pairs: list[str]) -> dict[str, str]:
    overrides: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InvalidInput(f"--spec: wanted KEY=VALUE, got {pair!r}")
        if key.strip() in overrides:
            raise InvalidInput(f"--spec: {key.strip()} is given twice")
        overrides[key.strip()] = value.strip()
    return overrides
