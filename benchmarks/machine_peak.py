"""The matrix peak of a machine as measured: `python -m deepfake_edge.benchmarks.machine_peak`.

What a model's speed is a share of. Large products, 2 * M * N * K / t operations a second each, in every precision
that a library here has; the best call of the best library counts. Needs the `convert` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass

from deepfake_edge.benchmarks.process import Contender
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.tables import table

SECONDS = 3.0
_MODULE = "deepfake_edge.benchmarks.measured_product"
# Library, precision, operator.
_PRODUCTS = (
    ("numpy", "fp32", "MatMul"),
    ("onnxruntime", "fp32", "MatMul"),
    ("onnxruntime", "int8", "MatMulInteger"),
    *(("openvino", precision, kind) for precision in ("fp32", "bf16", "int8") for kind in ("MatMul", "Conv")),
)


@dataclass(frozen=True, slots=True)
class Peak:
    """The most operations a second (a multiply-add is two) in a precision, and what reached them."""

    precision: str
    operations_per_s: float
    by: str


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table or JSON."""
    parser = argparse.ArgumentParser(description="Measure this machine's matrix peak.")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for each product (default: {SECONDS:g})")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    peaks = measure(given.seconds)
    if given.json:
        print(json.dumps([asdict(peak) for peak in peaks.values()], indent=1))
    else:
        rows = [(peak.precision, f"{peak.operations_per_s / 1e9:.0f}", peak.by) for peak in peaks.values()]
        print(table(rows, ("precision", "10^9 operations a second", "by")))
    return 0


def measure(seconds: float = SECONDS) -> dict[str, Peak]:
    """The peak in each precision that this machine has, by precision; one process after another.

    Args:
        seconds: for each product. A library or precision that is not here is named on stderr and left out.
    """
    peaks: dict[str, Peak] = {}
    for library, precision, operator in _PRODUCTS:
        title = f"{library} {operator}"
        try:
            with Contender(_MODULE, title) as process:
                found = process.ask("product", library=library, precision=precision, operator=operator, seconds=seconds)
        except DeepfakeEdgeError as error:
            print(f"{title} in {precision}: {error}", file=sys.stderr)
            continue
        speed = found["operations"] / min(found["times_ms"]) * 1000.0
        if precision not in peaks or speed > peaks[precision].operations_per_s:
            peaks[precision] = Peak(precision, speed, title)
    return peaks


if __name__ == "__main__":
    raise SystemExit(main())
