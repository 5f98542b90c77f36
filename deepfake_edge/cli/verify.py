"""`deepfake-edge verify model.dfe`: replays the golden crops on this machine's runtime, one or several of them."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.cli.options import MODEL_HELP, add_runtime_arguments, runtime_options
from deepfake_edge.golden import load, replay
from deepfake_edge.recipe import recipe_of
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime, precisions_of
from deepfake_edge.tables import table


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("verify", help="does a bundle say on this machine what its source said?")
    parser.add_argument("bundle", type=Path, help=MODEL_HELP)
    add_runtime_arguments(parser, precision="what the bundle has, or bf16: fp32 in bfloat16 (default: all it has)")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Replay, print the figures.

    Returns:
        0 where everything that was replayed is within its tolerance, else 1.
    """
    options = runtime_options(arguments)
    results: list[dict[str, Any]] = []
    for entry in recipe_of(arguments.bundle).entries:
        bundle = read_bundle(entry.bundle)
        for precision in [arguments.precision] if arguments.precision else _precisions(bundle, options.name):
            results.append(_replayed(bundle, replace(options, precision=precision)))
            if not arguments.json:
                print(table([(key, _cell(value)) for key, value in results[-1].items()]), end="\n\n")
    passed = all(figures["passed"] for figures in results)
    if arguments.json:
        print(json.dumps({"passed": passed, "results": results}))
    return 0 if passed else 1


def _precisions(bundle: Bundle, runtime: str) -> list[str]:
    """What a user of the bundle may ask for, each once; of TensorRT what is built, or what to build first."""
    if runtime == "tensorrt":
        return list(precisions_of(runtime, bundle)) or [bundle.first_precision]
    return list(dict.fromkeys(name.removesuffix("-unsigned") for name in bundle.variants))


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2g}"
    return "-" if value is None else str(value)


def _replayed(bundle: Bundle, options: RuntimeOptions) -> dict[str, Any]:
    runtime = choose_runtime(options, bundle)
    with load(bundle, options.precision, runtime) as model:
        result = replay(model, bundle)
    return {
        "bundle": bundle.name,
        "precision": model.precision,
        "variant": model.variant,
        **asdict(result),
        "passed": result.passed,
        "runtime": str(runtime.choice),
    }
