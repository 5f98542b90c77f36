"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

from deepfake_edge.choices import FINDERS
from deepfake_edge.detector import Detector
from deepfake_edge.recipe import recipe_of
from deepfake_edge.runtime_choice import RUNTIMES, RuntimeOptions

MODEL_HELP = "a .dfe made by `convert`, or a .json that names several and their weights"


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --model and what decides how it runs."""
    parser.add_argument("--model", required=True, type=Path, metavar="BUNDLE", help=MODEL_HELP)
    parser.add_argument(
        "--faces",
        default="auto",
        metavar="FINDER",
        help=f"auto, or one of {', '.join(FINDERS)}; yunet:FILE and insightface:PACK-or-FILE name a model "
        "(InsightFace's packs are for non-commercial research only)",
    )
    add_runtime_arguments(parser)
    parser.add_argument(
        "--crops", default="cpu", metavar="WHERE", help="cpu, or cuda: faces are cut on the GPU (tensorrt alone)"
    )


def add_runtime_arguments(
    parser: argparse.ArgumentParser, precision: str = "fp32, fp16, int8, or bf16: fp32 in bfloat16 (default: the first)"
) -> None:
    """Add what decides how the networks run; `precision` is the help of --precision."""
    parser.add_argument("--runtime", default="auto", metavar="NAME", help=f"auto, or one of {', '.join(RUNTIMES)}")
    parser.add_argument("--precision", metavar="NAME", help=precision)
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: one a physical core)")
    parser.add_argument("--device", type=int, default=0, metavar="N", help="which GPU, where one is used (default: 0)")


def runtime_options(arguments: argparse.Namespace) -> RuntimeOptions:
    """What `add_runtime_arguments` asked for. Raises InvalidInput."""
    return RuntimeOptions(arguments.runtime, arguments.precision, arguments.threads, arguments.device)


def make_detector(arguments: argparse.Namespace) -> Detector:
    """Build the detector that the shared options ask for."""
    return Detector(
        arguments.model,
        faces=arguments.faces,
        runtime=arguments.runtime,
        precision=arguments.precision,
        threads=arguments.threads,
        device=arguments.device,
        crops=arguments.crops,
    )


def model_files(model: Path) -> list[Path]:
    """Every file that a model is made of: a bundle, or an ensemble file and its bundles.

    Raises:
        BundleError: it is an ensemble file that cannot be read.
    """
    return [model, *(entry.bundle for entry in recipe_of(model).entries)]
