"""`deepfake-edge verify model.dfe`: replays the golden crops on this machine's runtime, one or several of them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import read_bundle
from deepfake_edge.choices import choose_runtime
from deepfake_edge.cli.options import MODEL_HELP, add_runtime_arguments
from deepfake_edge.golden import Replay, replay
from deepfake_edge.model import Model, NetworkFactory
from deepfake_edge.recipe import recipe_of
from deepfake_edge.tables import table


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("verify", help="does a bundle say on this machine what its source said?")
    parser.add_argument("bundle", type=Path, help=MODEL_HELP)
    add_runtime_arguments(parser)
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay, print the figures.

    Returns:
        0 where every model is within its tolerance, else 1.
    """
    entries = recipe_of(arguments.bundle).entries
    runtime, network = choose_runtime(arguments.runtime, arguments.threads)
    results: list[dict[str, Any]] = []
    for entry in entries:
        figures = {**_replayed(entry.bundle, arguments.precision, network), "runtime": str(runtime)}
        results.append(figures)
        if not arguments.json:
            print(table([(key, "-" if value is None else str(value)) for key, value in figures.items()]), end="\n\n")
    passed = all(figures["passed"] for figures in results)
    if arguments.json:
        print(json.dumps(results[0] if len(results) == 1 else {"members": results, "passed": passed}))
    return 0 if passed else 1


def _replayed(path: Path, precision: str | None, network: NetworkFactory) -> dict[str, Any]:
    bundle = read_bundle(path)
    with Model(bundle, precision or next(iter(bundle.variants)), network) as model:
        return {"bundle": model.name, "variant": model.precision, **_figures(replay(model, bundle.golden))}


def _figures(result: Replay) -> dict[str, Any]:
    return {
        "crops": result.crops,
        "windows": result.windows,
        "features_max_diff": result.features_max_diff,
        "outputs_max_diff": result.outputs_max_diff,
        "tolerance": result.tolerance,
        "passed": result.passed,
    }
