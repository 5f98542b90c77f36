"""`deepfake-edge benchmark model.dfe`: how fast, how large and how true each runtime and precision is here."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfake_edge.benchmarks.figures import Calls, Row, recommend
from deepfake_edge.benchmarks.latency import SECONDS, Options, measure, pairs_of
from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.cli.progress import Progress
from deepfake_edge.errors import InvalidInput
from deepfake_edge.recipe import recipe_of
from deepfake_edge.tables import table

_MIB = 1024**2
_BATCHES, _FUSED_BATCHES = (1, 4, 10), (1,)
# Above it, what runs beside the benchmark takes a noticeable part of it.
_BUSY = 0.25

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("benchmark", help="speed, memory and truth of every runtime and precision here")
    parser.add_argument("bundle", type=Path, help="a .dfe made by `convert`")
    parser.add_argument("--runtime", type=_names, metavar="NAMES", help="only these, e.g. openvino,onnxruntime")
    parser.add_argument("--precision", type=_names, metavar="NAMES", help="only these, e.g. fp32,bf16,int8")
    parser.add_argument(
        "--batch", type=_sizes, metavar="SIZES", help="crops a call; 1 is always measured (default: 1,4,10)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: one a physical core)")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"for each row and batch size (default: {SECONDS:g})"
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print the figures and the recommended choice.

    Returns:
        0 where there is one to recommend, else 1.
    """
    path = _only_bundle(arguments.bundle)
    bundle = read_bundle(path)
    pairs = pairs_of(bundle, arguments.runtime, arguments.precision)
    progress = Progress("benchmark")
    fused = next(iter(bundle.variants.values())).backbone is None
    options = Options(
        batches=arguments.batch or (_FUSED_BATCHES if fused else _BATCHES),
        seconds=arguments.seconds,
        threads=arguments.threads,
        progress=progress,
    )
    load = _load()
    try:
        rows = measure(path, bundle, pairs, options)
    finally:
        progress.end()
    print(_json(bundle, rows, options, load) if arguments.json else _text(rows, options, fused))
    return 0 if recommend(rows) else 1


def _only_bundle(path: Path) -> Path:
    entries = recipe_of(path).entries
    if len(entries) > 1:
        commands = "".join(f"\n  deepfake-edge benchmark {entry.bundle}" for entry in entries)
        raise InvalidInput(
            f"{path}: an ensemble takes as long as its members together; measure each of them:{commands}"
        )
    return entries[0].bundle


def _load() -> float:
    """The system's load average of the last minute, before anything is measured; said aloud where it is much."""
    load = os.getloadavg()[0]
    if load > _BUSY:
        logger.info("this machine is busy (load %.1f on %s processors): absolute times are noise", load, os.cpu_count())
    return load


def _text(rows: Sequence[Row], options: Options, fused: bool) -> str:
    unit = "windows" if fused else "crops"
    header = ("runtime", "precision", "batch", "p50 ms", "p90", "p99", f"{unit} a second", "head ms", "MB", "peak MB",
              "load s", "verify")  # fmt: skip
    lines = [table([cells for row in rows for cells in _cells(row)], header)]
    lines += [f"\n{row.name}: {type(row.error).__name__}: {row.error}" for row in rows if row.error is not None]
    found = recommend(rows)
    if found is None:
        lines.append("\nnothing to recommend: no row passes verify here")
    else:
        lines.append(f"\nrecommended: {_options(found.row, options)}\n  {found.reason}")
    return "\n".join(lines)


def _cells(row: Row) -> list[tuple[str, ...]]:
    """A line for batch 1, and one for the best batch where that is another."""
    if row.error is not None:
        return [(row.runtime, row.precision, *["-"] * 9, "failed")]
    memory = row.memory or {}
    rest = (
        "-" if row.head is None else f"{row.head.p50_ms:.3g}",
        *(f"{memory[name] / _MIB:.0f}" if name in memory else "-" for name in ("resident", "peak")),
        f"{row.load_s:.2f}",
        "passed" if row.passed else "FAILED",
    )
    lines = [(row.runtime, row.precision, *_speed(row.calls[0]), *rest)]
    if row.best is not row.calls[0]:
        lines.append(("", "", *_speed(row.best), *[""] * len(rest)))
    return lines


def _speed(calls: Calls) -> tuple[str, ...]:
    times = (f"{calls.percentile_ms(percent):.3g}" for percent in (50, 90, 99))
    return (str(calls.batch), *times, f"{calls.per_second:,.{0 if calls.per_second >= 100 else 1}f}")


def _json(bundle: Bundle, rows: Sequence[Row], options: Options, load: float) -> str:
    found = recommend(rows)
    recommended = (
        None
        if found is None
        else {
            "runtime": found.row.runtime,
            "precision": found.row.precision,
            "options": _options(found.row, options),
            "reason": found.reason,
        }
    )
    return json.dumps(
        {
            "name": bundle.name,
            "sha256": bundle.sha256,
            "machine": {"system": platform.platform(), "logical_cpus": os.cpu_count(), "load_average": load},
            "threads": options.threads,
            "seconds": options.seconds,
            "rows": [row.to_json() for row in rows],
            "recommended": recommended,
        },
        indent=1,
    )


def _options(row: Row, options: Options) -> str:
    """What to add to `detect` or `watch`."""
    threads = "" if options.threads is None else f" --threads {options.threads}"
    return f"--runtime {row.runtime} --precision {row.precision}{threads}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"wanted numbers with commas, e.g. 1,4,10, got {text!r}") from None
