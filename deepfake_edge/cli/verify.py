"""`deepfake-edge verify model.dfe`: replays the golden crops on this machine's runtime."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import read_bundle
from deepfake_edge.choices import choose_runtime
from deepfake_edge.cli.options import add_runtime_arguments
from deepfake_edge.cli.report import table
from deepfake_edge.golden import replay
from deepfake_edge.model import Model


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("verify", help="does a bundle say on this machine what Keras said?")
    parser.add_argument("bundle", type=Path)
    add_runtime_arguments(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay, print the figures.

    Returns:
        0 within the tolerance, 1 outside.
    """
    bundle = read_bundle(arguments.bundle)
    runtime, network = choose_runtime(arguments.runtime, arguments.threads)
    with Model(bundle, arguments.precision or next(iter(bundle.variants)), network) as model:
        result = replay(model, bundle.golden)
    figures = {
        "bundle": bundle.name,
        "variant": model.precision,
        "runtime": str(runtime),
        "crops": result.crops,
        "windows": result.windows,
        "features_max_diff": result.features_max_diff,
        "outputs_max_diff": result.outputs_max_diff,
        "tolerance": result.tolerance,
        "passed": result.passed,
    }
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(table([(key, str(value)) for key, value in figures.items()]))
    return 0 if result.passed else 1
