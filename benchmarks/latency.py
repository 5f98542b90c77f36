"""Latency, speed, memory and load time of a bundle on this machine, for every runtime and precision it can run.

All rows take turns, round by round, so that whatever else the machine does hits them alike. Needs no workshop.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from deepfake_edge.benchmarks.figures import Calls, Row
from deepfake_edge.benchmarks.process import Contender
from deepfake_edge.bundle import PRECISIONS, Bundle
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.runtime_choice import RUNTIMES, precisions_of
from deepfake_edge.threads import check_threads

ROUNDS = 3
SECONDS = 3.0
_MODULE = "deepfake_edge.benchmarks.measured_bundle"
_MAX_BATCH, _MAX_SECONDS = 1024, 3600.0

Pair: TypeAlias = tuple[str, str]
"""(runtime, precision)."""
Part: TypeAlias = tuple[str, int]
"""(task of the measured process, batch)."""
_HEAD: Part = ("head", 1)


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes:
        batches: crops a call (windows of a fused clip network); 1 is always among them, in rising order.
        seconds: of measuring for each row and batch size, over all rounds.
        threads: of each runtime; None for its own choice.
        each_round: is called before every round.
        progress: is told how many steps of how many are done.
    """

    batches: tuple[int, ...] = (1, 4, 10)
    seconds: float = SECONDS
    threads: int | None = None
    each_round: Callable[[], None] = lambda: None
    progress: Callable[[int, int], None] = lambda done, total: None

    def __post_init__(self) -> None:
        wrong = [batch for batch in self.batches if not 1 <= batch <= _MAX_BATCH]
        if wrong:
            raise InvalidInput(f"batch: wanted from 1 to {_MAX_BATCH}, got {wrong[0]}")
        if not 0 < self.seconds <= _MAX_SECONDS:
            raise InvalidInput(f"seconds: wanted more than 0 and at most {_MAX_SECONDS:g}, got {self.seconds:g}")
        if self.threads is not None:
            check_threads(self.threads)
        object.__setattr__(self, "batches", tuple(sorted({1, *self.batches})))


def pairs_of(bundle: Bundle, runtimes: Sequence[str] | None, precisions: Sequence[str] | None) -> list[Pair]:
    """What there is to measure: what the bundle has and a runtime of this machine computes in.

    Args:
        bundle: what is measured.
        runtimes: only these; None takes all.
        precisions: only these; None takes all.
    Raises:
        InvalidInput: there is nothing to measure for one of the names.
    """
    every = [(runtime, item) for runtime in RUNTIMES for item in precisions_of(runtime, bundle)]
    pairs = [
        (runtime, precision)
        for runtime, precision in every
        if runtime in (runtimes or RUNTIMES) and precision in (precisions or PRECISIONS)
    ]
    missing = [name for name in (*(runtimes or ()), *(precisions or ())) if not any(name in pair for pair in pairs)]
    if missing:
        raise InvalidInput(
            f"{bundle.name}: there is nothing to measure for {', '.join(missing)}; this bundle runs here on "
            f"{', '.join(map(' '.join, every))}; what else this machine could have says: deepfake-edge doctor"
        )
    return pairs


def measure(path: Path, bundle: Bundle, pairs: Sequence[Pair], options: Options) -> list[Row]:
    """Measure each runtime and precision in a process of its own; all of them are loaded at once.

    Args:
        path: the bundle's file, which every process reads for itself.
        bundle: what it holds.
        pairs: what to measure.
        options: how.
    Returns:
        a row for each pair, in their order; one that failed says why.
    """
    variant = next(iter(bundle.variants.values()))
    parts: list[Part] = [("calls", batch) for batch in options.batches]
    if variant.backbone is not None and variant.head is not None:
        parts.append(_HEAD)
    total = len(pairs) * (1 + ROUNDS * len(parts))
    steps = itertools.count(1)
    with ExitStack() as stack:
        entrants = []
        for pair in pairs:
            process = stack.enter_context(Contender(_MODULE, " ".join(pair)))
            entrants.append(_Entrant(pair, process))
            entrants[-1].load(path, options.threads)
            options.progress(next(steps), total)
        for place in range(ROUNDS):
            options.each_round()
            first = place % len(entrants)
            for entrant in [*entrants[first:], *entrants[:first]]:
                for part in parts:
                    entrant.burst(part, options.seconds / ROUNDS)
                    options.progress(next(steps), total)
        return [entrant.row() for entrant in entrants]


class _Entrant:
    """A row while it is measured; once it has failed, its process is gone and nothing more is asked of it."""

    def __init__(self, pair: Pair, process: Contender) -> None:
        self._runtime, self._precision = pair
        self._process = process
        self._loaded: dict[str, Any] = {}
        self._times: dict[Part, list[tuple[float, ...]]] = {}
        self._error: DeepfakeEdgeError | None = None

    def load(self, path: Path, threads: int | None) -> None:
        self._loaded = self._ask(
            "load", bundle=str(path), runtime=self._runtime, precision=self._precision, threads=threads
        )

    def burst(self, part: Part, seconds: float) -> None:
        task, batch = part
        answer = self._ask(task, batch=batch, seconds=seconds)
        self._times.setdefault(part, []).append(tuple(answer.get("times_ms", ())))

    def row(self) -> Row:
        memory = self._ask("memory")
        if self._error is not None:
            return Row(self._runtime, self._precision, error=self._error)
        calls = {part: Calls(part[1], tuple(rounds)) for part, rounds in self._times.items()}
        head = calls.pop(_HEAD, None)
        return Row(
            self._runtime, self._precision, memory=memory, calls=tuple(calls.values()), head=head, **self._loaded
        )

    def _ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        if self._error is not None:
            return {}
        try:
            return self._process.ask(task, **arguments)
        except DeepfakeEdgeError as error:
            self._error = error
            self._process.close()
            return {}
