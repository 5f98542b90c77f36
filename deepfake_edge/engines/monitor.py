"""How far a build is, from TensorRT's own reports where it gives any, and how it is ended early."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from types import ModuleType
from typing import TypeAlias, TypeVar

from deepfake_edge.engines.library import implementing

_LOOK_EVERY_S = 0.2
_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a build is.

    Attributes:
        engine: which engine is built.
        phase: what TensorRT is at; empty where it does not say, as before 10.
        share: how much of it is done, 0..1; None where TensorRT does not say.
        elapsed_s: since the build began.
    """

    engine: str
    phase: str
    share: float | None
    elapsed_s: float


Progress: TypeAlias = Callable[[Stage], None]


@dataclass(slots=True)
class _Phase:
    name: str
    parent: str | None
    steps: int
    done: int = 0
    reached: float = 0.0


class Monitor:
    """What TensorRT reports while it builds, from any of its threads. Phases stand within phases.

    Attributes:
        asks: whether TensorRT asks it, from 10 on, if the build is to go on.
    """

    def __init__(self, engine: str, *, asks: bool) -> None:
        """Begin; nothing is reported yet."""
        super().__init__()
        self.asks = asks
        self._engine = engine
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._phases: list[_Phase] = []
        self._ended = False

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._phases.append(_Phase(phase_name, parent_phase, max(num_steps, 1)))

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step of it is done; False ends the build."""
        with self._lock:
            for phase in self._phases:
                if phase.name == phase_name:
                    phase.done = min(step + 1, phase.steps)
            return not self._ended

    def phase_finish(self, phase_name: str) -> None:
        """It is through."""
        with self._lock:
            self._phases = [phase for phase in self._phases if phase.name != phase_name]

    def end(self) -> None:
        """Have the build end at its next step."""
        self._ended = True

    def stage(self) -> Stage:
        """How far it is: of the outermost phase, its steps and the share of the step that is under way."""
        elapsed_s = time.monotonic() - self._started
        with self._lock:
            if not self._phases:
                return Stage(self._engine, "", None, elapsed_s)
            share = 0.0
            for phase in reversed(self._phases):
                share = min((phase.done + share) / phase.steps, 1.0)
            # An inner phase is through shortly before the step that it belongs to is.
            outermost = self._phases[0]
            outermost.reached = max(outermost.reached, share)
            return Stage(self._engine, self._phases[-1].name, outermost.reached, elapsed_s)


def monitor(trt: ModuleType, engine: str) -> Monitor:
    """A monitor that TensorRT takes where it reports progress, from 10 on; before, one that knows only the time."""
    if not hasattr(trt, "IProgressMonitor"):
        return Monitor(engine, asks=False)
    made: Monitor = implementing(Monitor, trt.IProgressMonitor)(engine, asks=True)
    return made


def watched(work: Callable[[], _Result], monitor: Monitor, progress: Progress | None) -> _Result:
    """Run `work` in a thread of its own while this one reports, so that Ctrl-C is heard at once.

    Whatever is raised here, by `progress` or by a signal, ends the build at its next step; where TensorRT does not ask,
    before 10, this waits until the build is through.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="build") as pool:
        future = pool.submit(work)
        try:
            while not wait([future], timeout=_LOOK_EVERY_S).done:
                if progress is not None:
                    progress(monitor.stage())
        except BaseException:
            monitor.end()
            if not monitor.asks and not future.done():
                _log.warning("this TensorRT cannot be interrupted: waiting until the build is through")
            raise
        return future.result()
