"""Simulated: the plain values that go in and out."""

from __future__ import annotations

from typing import Any


class HostMemory:
    """IHostMemory: bytes that belong to the library."""

    api = "IHostMemory"

    def __init__(self, library: Any, data: bytes) -> None:
        self._data = data
        self.nbytes = len(data)
        self.dtype = library.enum("DataType.INT8")

    def content(self) -> tuple[bytes]:
        return (self._data,)


class Dims:
    """Dims."""

    api = "Dims"
    MAX_DIMS = 8

    def __init__(self, _library: Any, shape: Any = ()) -> None:
        self.sizes = [int(size) for size in shape]
        if len(self.sizes) > self.MAX_DIMS:
            raise ValueError("The number of input dims exceeds the maximum allowed number of dimensions")

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, at: Any) -> Any:
        return tuple(self.sizes[at]) if isinstance(at, slice) else self.sizes[at]

    def __eq__(self, other: Any) -> bool:
        return self.sizes == list(other)

    __hash__ = None

    def __repr__(self) -> str:
        return repr(tuple(self.sizes))


class Interface:
    """What Python implements: ILogger, IProgressMonitor."""

    api = "ILogger"
    interface = True

    def __init__(self, library: Any) -> None:
        self._library = library

    def __getattr__(self, name: str) -> Any:
        """What stands in for a method that Python did not write: it says so on stderr, and returns nothing or False."""
        if name.startswith("_"):
            raise AttributeError(name)

        def missing(*_given: Any, **_named: Any) -> bool | None:
            self._library.errors.append(f'Tried to call pure virtual function "{name}"')
            return False if name == "step_complete" else None

        return missing


class Logger:
    """Logger, which writes to stderr; the double keeps its lines in the library's log anyway."""

    api = "Logger"
    interface = True

    def __init__(self, library: Any, min_severity: Any = None) -> None:
        self.min_severity = min_severity or library.enum("ILogger.Severity.WARNING")

    def log(self, severity: Any, msg: str) -> None:
        pass
