"""The speed proof: a bundle on every runtime and precision here against Keras `predict`, in one run.

    python -m deepfake_edge.benchmarks.against_keras MODEL.keras MODEL.dfe [--batch 1,10,30] [--seconds 3] [--json]

Keras `predict` on a whole clip has fast and slow modes from one process to the next: each round measures it in a new
one, and its single best call is what every median here is held against. The share is of the machine's matrix peak
(`machine_peak`), measured in the same run. Meant for a machine that does nothing else. Needs the `convert` extra.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from deepfake_edge.benchmarks import machine_peak
from deepfake_edge.benchmarks.figures import Row
from deepfake_edge.benchmarks.latency import SECONDS, Options, measure, pairs_of
from deepfake_edge.benchmarks.machine_peak import Peak
from deepfake_edge.benchmarks.process import Contender
from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.converters.precision.graph import prepare, quantisable
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.tables import table

_MODULE = "deepfake_edge.benchmarks.measured_keras"
# A call of Keras takes a whole clip: of its calls fewer fit into the same time.
_KERAS_SHARE = 2.0
# On a CPU what is stored in float16 is computed in float32.
_COMPUTED_IN = {"fp32": "fp32", "fp16": "fp32", "bf16": "bf16", "int8": "int8"}
_HEADER = ("runtime", "precision", "batch", "ms a frame", "times Keras's best", "10^9 operations/s", "share of peak")


@dataclass(frozen=True, slots=True)
class Line:
    """One runtime, precision and batch size beside Keras.

    Attributes:
        runtime: its name.
        precision: as a user asks for it.
        batch: frames a call (windows of a fused clip network).
        frame_ms: milliseconds a frame, of the median call.
        ratio: Keras's best call a frame / `frame_ms`.
        operations_per_s: 2 * the backbone's multiply-adds a frame / its time.
        share: of the machine's peak in the precision; None where the peak is not known.
    """

    runtime: str
    precision: str
    batch: int
    frame_ms: float
    ratio: float
    operations_per_s: float
    share: float | None


@dataclass(frozen=True, slots=True)
class Proof:
    """Everything that one run measured.

    Attributes:
        keras_min_ms: the best call of Keras `predict`, a frame.
        keras_median_ms: the median call of each process, a frame.
        multiply_adds: of the backbone on one frame.
        peaks: by precision.
        lines: every runtime, precision and batch size.
        failed: why there are no figures, by runtime and precision.
        load_average: of the system, in the minute before.
    """

    keras_min_ms: float
    keras_median_ms: list[float]
    multiply_adds: int
    peaks: dict[str, Peak]
    lines: list[Line]
    failed: dict[str, str]
    load_average: float


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table or JSON; 1 when a row failed."""
    parser = argparse.ArgumentParser(description="Hold a bundle's speed against Keras.")
    parser.add_argument("keras", type=Path, help="the full model as a .keras file: one of your own")
    parser.add_argument("bundle", type=Path, help="what it was converted to")
    parser.add_argument("--batch", default="1,10,30", help="frames a call (default: 1,10,30)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each measurement (default: {SECONDS:g})")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        batches = tuple(int(size) for size in given.batch.split(","))
    except ValueError:
        parser.error(f"--batch: wanted numbers with commas between them, got {given.batch!r}")
    try:
        proof = prove(given.keras, given.bundle, Options(batches, given.seconds))
    except DeepfakeEdgeError as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    print(json.dumps(asdict(proof), indent=1) if given.json else _text(proof))
    return 1 if proof.failed else 0


def prove(keras: Path, path: Path, options: Options) -> Proof:
    """Measure Keras, the bundle and the machine's peak.

    Args:
        keras: the model's file.
        path: of the bundle that was made of it.
        options: how to measure the bundle; its `seconds` also go to each matrix product, and twice to each Keras.
    Raises:
        InvalidInput: the bundle was made of another model.
        ConversionError: Keras cannot load the model.
    """
    load = os.getloadavg()[0]
    bundle = read_bundle(path)
    _check_same(keras, bundle)
    rounds: list[list[float]] = []

    def each_round() -> None:
        print(f"Keras, process {len(rounds) + 1}", file=sys.stderr, flush=True)
        with Contender(_MODULE, "Keras") as process:
            found = process.ask("predict", keras=str(keras), bundle=str(path), seconds=_KERAS_SHARE * options.seconds)
        rounds.append([time / found["frames"] for time in found["times_ms"]])

    rows = measure(path, bundle, pairs_of(bundle, None, None), replace(options, each_round=each_round))
    peaks = machine_peak.measure(options.seconds)
    best = min(map(min, rounds))
    work = work_of(bundle)
    return Proof(
        keras_min_ms=best,
        keras_median_ms=[statistics.median(times) for times in rounds],
        multiply_adds=work,
        peaks=peaks,
        lines=[line for row in rows for line in lines_of(row, bundle, best, work, peaks)],
        failed={row.name: str(row.error) for row in rows if row.error is not None},
        load_average=load,
    )


def _check_same(keras: Path, bundle: Bundle) -> None:
    try:
        found = hashlib.sha256(keras.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidInput(f"{keras}: cannot be read: {error.strerror or error}") from error
    if "fp32" not in bundle.variants:
        raise InvalidInput(f"{bundle.name}: holds no fp32, in which a frame's operations are counted; convert it again")
    if found != bundle.provenance.get("source_sha256"):
        raise InvalidInput(f"{bundle.name}: was not made of {keras}; convert it again, or name the file it was made of")


def _frames_a_run(bundle: Bundle) -> int:
    """Frames that go through the heavy network in one run of it: a whole window through a fused clip network."""
    return bundle.spec.clip.frames if bundle.variants["fp32"].backbone is None else 1


def work_of(bundle: Bundle) -> int:
    """Multiply-adds of the convolutions and products of the backbone on a frame, without what follows the pooling."""
    variant = bundle.variants["fp32"]
    heavy = variant.backbone or variant.head
    assert heavy is not None
    return sum(layer.multiply_adds for layer in quantisable(prepare(heavy))) // _frames_a_run(bundle)


def lines_of(row: Row, bundle: Bundle, keras_ms: float, work: int, peaks: dict[str, Peak]) -> Iterator[Line]:
    """A row beside Keras, batch by batch.

    Args:
        row: measured.
        bundle: what was measured.
        keras_ms: Keras's best call, a frame.
        work: multiply-adds a frame.
        peaks: of the machine, by precision.
    """
    peak = peaks.get(_COMPUTED_IN[row.precision])
    for calls in row.calls:
        frame_ms = calls.p50_ms / (calls.batch * _frames_a_run(bundle))
        speed = 2 * work / frame_ms * 1000.0
        share = None if peak is None else speed / peak.operations_per_s
        yield Line(row.runtime, row.precision, calls.batch, frame_ms, keras_ms / frame_ms, speed, share)


def _text(proof: Proof) -> str:
    medians = ", ".join(f"{median:.1f}" for median in proof.keras_median_ms)
    lines = [
        f"Keras predict: {proof.keras_min_ms:.1f} ms a frame at its best; median of each process: {medians}",
        f"one frame: {2 * proof.multiply_adds / 1e9:.2f} * 10^9 operations",
        *(
            f"peak {peak.precision}: {peak.operations_per_s / 1e9:.0f} * 10^9 operations a second ({peak.by})"
            for peak in proof.peaks.values()
        ),
        f"load average of the minute before: {proof.load_average:.1f}",
        "",
        table([_cells(line) for line in proof.lines], _HEADER),
    ]
    return "\n".join([*lines, *(f"\n{name}: {reason}" for name, reason in proof.failed.items())])


def _cells(line: Line) -> tuple[str, ...]:
    return (
        line.runtime,
        line.precision,
        str(line.batch),
        f"{line.frame_ms:.2f}",
        f"{line.ratio:.2f}",
        f"{line.operations_per_s / 1e9:.0f}",
        "-" if line.share is None else f"{line.share:.0%}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
