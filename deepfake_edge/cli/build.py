"""`deepfake-edge build model.dfe`: this device's TensorRT engines, proved on it; and what the cache has of them."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.cli.options import MODEL_HELP
from deepfake_edge.cli.progress import Line, bar
from deepfake_edge.cuda.device import open_device
from deepfake_edge.engines.build import BuildReport
from deepfake_edge.engines.identity import Platform, parts_of, platform_of
from deepfake_edge.engines.monitor import Stage
from deepfake_edge.engines.options import BatchProfile, BuildOptions
from deepfake_edge.engines.store import EngineStore, Entry
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.gpu import build_engines
from deepfake_edge.recipe import recipe_of
from deepfake_edge.tables import table

_UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_CLEAN = ("stale", "all")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("build", help="builds this GPU's TensorRT engines into the cache, and proves them")
    parser.add_argument("bundle", type=Path, nargs="?", help=MODEL_HELP)
    parser.add_argument(
        "--precision", metavar="NAMES", help="of fp32,fp16,int8 what the bundle has (default: its first)"
    )
    parser.add_argument(
        "--batch", default="1,8,16", metavar="MIN,BEST,MAX", help="crops or windows at once (default: %(default)s)"
    )
    parser.add_argument(
        "--workspace", metavar="SIZE", help="GPU memory to try kernels in, e.g. 512MiB (default: half, at most 1GiB)"
    )
    parser.add_argument("--device", type=int, default=0, metavar="N", help="which GPU (default: 0, the first)")
    parser.add_argument("--force", action="store_true", help="build again what is there already")
    parser.add_argument("--list", action="store_true", help="what the cache has; builds nothing")
    parser.add_argument(
        "--clean", nargs="?", const=_CLEAN[0], choices=_CLEAN,
        help="remove engines that are damaged or of another TensorRT or driver, or all; builds nothing",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Build, list or clean.

    Returns:
        0, or 1 where a precision that was asked for could not be built.
    """
    asked = [arguments.bundle is not None, arguments.list, arguments.clean is not None]
    if sum(asked) != 1:
        raise InvalidInput("build: wanted one of a bundle, --list and --clean")
    if arguments.list:
        return _list(arguments.json)
    if arguments.clean is not None:
        return _clean(arguments)
    options = BuildOptions(_batch(arguments.batch), _size(arguments.workspace), arguments.force)
    bundles = [read_bundle(entry.bundle) for entry in recipe_of(arguments.bundle).entries]
    tasks = [(bundle, precision) for bundle in bundles for precision in _precisions(bundle, arguments.precision)]
    results = [_built(bundle, precision, options, arguments) for bundle, precision in tasks]
    if arguments.json:
        print(json.dumps({"results": results}))
    elif arguments.precision is None:
        _say_what_else(bundles)
    return 1 if any("error" in result for result in results) else 0


def _precisions(bundle: Bundle, text: str | None) -> list[str]:
    """What is to be built of a bundle, each once; refused before anything is built."""
    names = [bundle.first_precision] if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        parts_of(bundle, name)
    return list(dict.fromkeys(names))


def _built(bundle: Bundle, precision: str, options: BuildOptions, arguments: argparse.Namespace) -> dict[str, Any]:
    """Build one precision; what fails is said, and does not keep the others from being built."""
    line = Line("building")
    try:
        report = build_engines(bundle, precision, options, arguments.device, lambda stage: line.show(_stage(stage)))
    except DeepfakeEdgeError as error:
        line.end()
        print(f"deepfake-edge: {type(error).__name__}: {error}", file=sys.stderr)
        found = {"type": type(error).__name__, "message": str(error)}
        return {"bundle": bundle.name, "precision": precision, "error": found}
    line.end()
    if not arguments.json:
        print(_text(report), end="\n\n")
    return {
        "bundle": report.bundle,
        "precision": report.precision,
        "platform": asdict(report.platform),
        "engines": [
            {"path": str(engine.path), "built": engine.built, **asdict(engine.sidecar)} for engine in report.engines
        ],
    }


def _stage(stage: Stage) -> str:
    minutes, seconds = divmod(int(stage.elapsed_s), 60)
    share = "" if stage.share is None else f"{bar(stage.share)}  "
    return f"{stage.engine}  {share}{minutes}:{seconds:02}  {stage.phase}"


def _text(report: BuildReport) -> str:
    rows = [
        (
            engine.sidecar.part,
            engine.sidecar.identity.precision,
            f"{engine.sidecar.plan_bytes / 1e6:.1f} MB",
            f"built in {engine.sidecar.build_s:.0f} s" if engine.built else "was there",
            str(engine.path),
        )
        for engine in report.engines
    ]
    gate = report.engines[0].sidecar.gate
    return (
        f"{report.bundle} {report.precision} for {report.platform.gpu}, TensorRT {report.platform.tensorrt}, "
        f"batches of {','.join(map(str, report.engines[0].sidecar.batch.sizes))}\n{table(rows)}\n"
        f"golden crops: outputs within {gate['own_max_diff']:.1e} of ONNX Runtime's ({gate['tolerance']:.0e} passes), "
        f"{gate['flips']} labels differ"
    )


def _say_what_else(bundles: Sequence[Bundle]) -> None:
    for bundle in bundles:
        others = [name for name in ("fp32", "fp16", "int8") if bundle.has(name) and name != bundle.first_precision]
        if others:
            print(f"{bundle.name} also has {', '.join(others)}: --precision {','.join(others)}", file=sys.stderr)


def _list(as_json: bool) -> int:
    entries = EngineStore().list()
    if as_json:
        print(json.dumps({"engines": [_json(entry) for entry in entries]}))
    elif entries:
        print(table(list(map(_row, entries)), ("bundle", "part", "precision", "batch", "size", "for", "file")))
    else:
        print("no engines", file=sys.stderr)
    return 0


def _row(entry: Entry) -> tuple[str, ...]:
    kept = entry.sidecar
    if kept is None:
        return ("-", "-", "-", "-", "-", f"nothing: {entry.flaw}", entry.path.name)
    platform = kept.identity.platform
    return (
        kept.bundle,
        kept.part,
        kept.identity.precision,
        ",".join(map(str, kept.batch.sizes)),
        f"{kept.plan_bytes / 1e6:.1f} MB",
        f"{platform.gpu}, TensorRT {platform.tensorrt}, driver for CUDA {platform.driver}",
        entry.path.name,
    )


def _json(entry: Entry) -> dict[str, Any]:
    found = {"flaw": entry.flaw} if entry.sidecar is None else asdict(entry.sidecar)
    return {"path": str(entry.path), **found}


def _clean(arguments: argparse.Namespace) -> int:
    store = EngineStore()
    everything = arguments.clean == "all"
    here = None if everything else _platform(arguments.device)
    with store.lock():
        gone = store.clean(here, everything=everything)
    if arguments.json:
        print(json.dumps({"removed": [str(path) for path in gone]}))
    else:
        print(f"removed {len(gone)} engines")
    return 0


def _platform(ordinal: int) -> Platform | None:
    """The device at hand; None where that cannot be told, which is said."""
    try:
        with open_device(ordinal) as device:
            return platform_of(device.facts)
    except DeepfakeEdgeError as error:
        print(f"only damaged engines are removed, others cannot be judged here: {error}", file=sys.stderr)
        return None


def _batch(text: str) -> BatchProfile:
    try:
        least, best, most = (int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"--batch: wanted three numbers, e.g. 1,8,30, got {text!r}") from None
    return BatchProfile(least, best, most)


def _size(text: str | None) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*(|KiB|MiB|GiB)", text.strip())
    if found is None:
        raise InvalidInput(f"--workspace: wanted a size such as 512MiB or 1GiB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])
