"""What was measured of each runtime and precision, and which of them to take: figures only, nothing is run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# Most exact first: bits of the mantissa are 23, 10, 7, and of an int8 value 7 with one step for the whole tensor.
EXACTNESS = ("fp32", "fp16", "bf16", "int8")
# Closer than this is one speed, however quiet the machine: nobody gains by taking the less exact.
NOISE = 0.05
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Calls:
    """The times of all calls with one batch size.

    Attributes:
        batch: crops a call (windows of a fused clip network).
        rounds_ms: milliseconds of each call, round by round; a round in which all rows took their turn.
    """

    batch: int
    rounds_ms: tuple[tuple[float, ...], ...]

    def percentile_ms(self, percent: float) -> float:
        """Milliseconds that `percent` of the calls stayed within, linear between two calls."""
        return float(np.percentile([time for times in self.rounds_ms for time in times], percent))

    @property
    def p50_ms(self) -> float:
        """The median call."""
        return self.percentile_ms(50)

    @property
    def per_second(self) -> float:
        """Crops (windows of a fused clip network) a second, by the median call."""
        return self.batch * 1000.0 / self.p50_ms

    def as_fast_as(self, other: Calls) -> bool:
        """Whether a call takes no longer than one of `other`, beyond noise.

        Round by round, how many times as long it takes: what disturbs a whole round cancels out. Of these ratios the
        median counts, so that a round that was hit alone decides nothing, less half of what they vary by.
        """
        pairs = zip(self.rounds_ms, other.rounds_ms, strict=True)
        ratios = [statistics.median(own) / statistics.median(others) for own, others in pairs]
        return statistics.median(ratios) - (max(ratios) - min(ratios)) / 2 <= 1 + NOISE

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "batch": self.batch,
            "calls": sum(map(len, self.rounds_ms)),
            **{f"p{percent}_ms": self.percentile_ms(percent) for percent in (50, 90, 99)},
            "crops_per_s": self.per_second,
            "round_p50_ms": [statistics.median(times) for times in self.rounds_ms],
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One precision on one runtime.

    Attributes:
        runtime: its name.
        precision: as a user asks for it.
        variant: the networks of the bundle that give it.
        load_s: seconds from opening the file to the first score, the runtime's import included.
        memory: bytes, `resident` after all calls and at its `peak`, both beyond what Python and numpy take alone;
            empty where the system does not tell.
        replay: what the golden replay found; `passed` among it.
        calls: of the backbone, or of the whole of a fused clip network, by rising batch; the first has batch 1.
        head: one window through the head; None where the model has none of its own.
        error: why there are no figures; None when there are.
    """

    runtime: str
    precision: str
    variant: str = ""
    load_s: float = 0.0
    memory: dict[str, int] | None = None
    replay: dict[str, Any] | None = None
    calls: tuple[Calls, ...] = ()
    head: Calls | None = None
    error: Exception | None = None

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.runtime} {self.precision}"

    @property
    def passed(self) -> bool:
        """Whether it ran, and says here what it said when the model was converted."""
        return self.error is None and self.replay is not None and bool(self.replay["passed"])

    @property
    def best(self) -> Calls:
        """The batch size with the most crops a second."""
        return max(self.calls, key=lambda calls: calls.per_second)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        named = {"runtime": self.runtime, "precision": self.precision}
        if self.error is not None:
            return {**named, "passed": False, "error": {"type": type(self.error).__name__, "message": str(self.error)}}
        return {
            **named,
            "variant": self.variant,
            "passed": self.passed,
            "replay": self.replay,
            "load_s": self.load_s,
            "memory_bytes": self.memory,
            "batches": [calls.to_json() for calls in self.calls],
            "best_batch": self.best.batch,
            "head": None if self.head is None else self.head.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The row to take, and why, in words."""

    row: Row
    reason: str


def recommend(rows: Sequence[Row]) -> Recommendation | None:
    """The fastest at batch 1 of the rows that pass; of those that are as fast, the most exact.

    Returns:
        None when no row passes.
    """
    passing = sorted((row for row in rows if row.passed), key=lambda row: row.calls[0].p50_ms)
    if not passing:
        return None
    fastest = passing[0]
    tied = [row for row in passing if row.calls[0].as_fast_as(fastest.calls[0])]
    taken = min(tied, key=lambda row: EXACTNESS.index(row.precision))
    others = [row for row in passing if row is not taken]
    if taken is not fastest:
        reason = f"within noise of the fastest, {_told(fastest)}, and more exact"
    elif others:
        reason = f"the fastest at batch 1 of those that pass verify here; next is {_told(others[0])}"
    else:
        reason = "the only one that passes verify here"
    return Recommendation(taken, f"{_told(taken)}: {reason}")


def _told(row: Row) -> str:
    return f"{row.name}, {row.calls[0].p50_ms:.3g} ms"
