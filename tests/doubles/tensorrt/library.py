"""What the library behind the double keeps: its version, its CUDA double, its log, its faults, what lives."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from doubles.tensorrt.api import Api
from doubles.tensorrt.values import Dims


@dataclass
class Build:
    """A finished or refused build, for tests to look at."""

    onnx: bytes
    flags: tuple[str, ...]
    network_flags: tuple[str, ...]
    profiles: list[dict[str, tuple[tuple[int, ...], ...]]]
    workspace: int
    settings: dict[str, Any]
    timing_hits: int = 0
    timing_misses: int = 0
    built: bool = False


@dataclass
class _Fault:
    after: int
    times: int | None
    how: dict[str, Any]

    def due(self) -> bool:
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


@dataclass
class Library:
    """One version of TensorRT over one CUDA double.

    Attributes:
        log: lines that the library said, each `ERROR: text`.
        errors: what the real library would answer with wrong numbers or a crash; a test with any of it fails.
        live: objects of the library by kind, not yet freed.
        pending: enqueues that have not run, by a context's own memory and the stream.
    """

    version: str
    manifest: Mapping[str, Any]
    cuda: Any
    memory: Any
    log: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    live: Counter[str] = field(default_factory=Counter)
    pending: Counter[tuple[int, int]] = field(default_factory=Counter)
    builds: list[Build] = field(default_factory=list)
    unsupported_operators: set[str] = field(default_factory=set)
    pause_s: float = 0.0

    def __post_init__(self) -> None:
        self.full_version = str(self.manifest["version"])
        numbers = self.full_version.split(".")
        self.number = (int(numbers[0]), int(numbers[1]))
        self._faults: dict[str, list[_Fault]] = {}
        self._lock = threading.Lock()
        self.api: Api

    def enum(self, name: str) -> Any:
        return self.api.enum(name)

    def dims(self, shape: Any) -> Dims:
        return Dims(self, shape)

    def say(self, logger: Any, severity: str, text: str) -> None:
        """Hand a line to Python's logger. What that raises goes to stderr in the real library; here it is an error."""
        with self._lock:
            self.log.append(f"{severity}: {text}")
        try:
            logger.log(self.enum(f"ILogger.Severity.{severity}"), text)
        except Exception as error:  # noqa: BLE001
            self.errors.append(f"exception caught in log(): {error!r}")

    def refuse(self, logger: Any, text: str) -> None:
        self.say(logger, "ERROR", text)

    def born(self, thing: Any, kind: str) -> None:
        """Count an object of the library until Python lets go of it."""
        with self._lock:
            self.live[kind] += 1
        weakref.finalize(thing, self._gone, kind).atexit = False

    def _gone(self, kind: str) -> None:
        self.live[kind] -= 1
        if not self.live[kind]:
            del self.live[kind]

    def fail(self, point: str, *, after: int, times: int | None, how: dict[str, Any]) -> None:
        self._faults.setdefault(point, []).append(_Fault(after, times, {"point": point, **how}))

    def fault(self, point: str) -> dict[str, Any] | None:
        """The settings of a fault that is due at a point; None where all is well."""
        with self._lock:
            due = [fault.how for fault in self._faults.get(point, ()) if fault.due()]
        return due[0] if due else None

    def fault_lines(self, logger: Any, point: str, lines: tuple[str, ...]) -> bool:
        """Whether a fault is due; says its lines, which a test may have given itself."""
        how = self.fault(point)
        if how is None:
            return False
        for line in how.get("lines", lines):
            self.refuse(logger, line)
        return True

    def function_volume(self, shape: Any) -> int:
        return int(np.prod([int(size) for size in shape], dtype=np.int64))

    def function_nptype(self, kind: Any) -> type:
        names = {"FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32, "BOOL": np.bool_}
        names |= {"UINT8": np.uint8, "INT64": np.int64}
        if kind.name not in names:
            raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
        return names[kind.name]
