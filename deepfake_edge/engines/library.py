"""The only door of TensorRT: its module, its version, and what it says while it works.

Held to 8.5 and newer: older ones lack `execute_async_v3`. What is there in some versions only is asked for with
`hasattr` where it is used; numbers of flags differ between versions and are never written down.
"""

from __future__ import annotations

import functools
import logging
import re
from collections import deque
from pathlib import Path
from types import ModuleType
from typing import Any

from deepfake_edge.errors import MissingDependency
from deepfake_edge.optional import require

OLDEST = (8, 5)
_KEPT_LINES = 50
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "failed_allocation", "could not allocate")
_JETSON = Path("/etc/nv_tegra_release")
# What building and running need, whatever the version.
_NEEDED = (
    "Builder", "BuilderFlag", "DataType", "ICudaEngine", "IExecutionContext", "ILogger", "MemoryPoolType",
    "NetworkDefinitionCreationFlag", "OnnxParser", "Runtime", "TensorIOMode",
)  # fmt: skip
_log = logging.getLogger(__name__)


def tensorrt() -> ModuleType:
    """TensorRT's Python module.

    Raises:
        MissingDependency: it is absent, broken, older than 8.5, or lacks a name that is needed; says what to do.
    """
    try:
        module = require("tensorrt", extra="tensorrt")
    except (MissingDependency, OSError, RuntimeError) as error:
        raise MissingDependency(_advice(error)) from error
    lacking = [name for name in _NEEDED if not hasattr(module, name)]
    if _numbers(module) < OLDEST:
        raise MissingDependency(
            f"TensorRT {module.__version__} is too old: wanted 8.5 or newer, on Jetson that is JetPack 5.1 or newer"
        )
    if lacking:
        raise MissingDependency(
            f"TensorRT {module.__version__} has no {', '.join(lacking)}, which deepfake-edge needs; "
            "try another version of TensorRT, from 8.5 to 11"
        )
    return module


def version() -> str:
    """The full version, e.g. `10.3.0`. Raises MissingDependency."""
    return str(tensorrt().__version__)


def version_numbers() -> tuple[int, ...]:
    """The version to compare, e.g. (10, 3, 0). Raises MissingDependency."""
    return _numbers(tensorrt())


def log() -> Log:
    """The only logger of this process. Raises MissingDependency.

    TensorRT keeps a pointer to the first that it is given and hands lines to it while any builder or runtime lives:
    those of one that is given later may go there, or, where Python has freed the first, crash.
    """
    return _log_of(tensorrt())


class Log:
    """TensorRT's logger (an `ILogger`): keeps its last errors, and hands errors and warnings to `logging`.

    Errors become warnings of ours, since an error of ours follows where they matter; warnings are for debugging. Made
    by `log` alone.
    """

    def __new__(cls) -> Log:
        interface = tensorrt().ILogger
        logger: Log = interface.__new__(implementing(cls, interface))
        return logger

    def __init__(self) -> None:
        """Empty. Raises MissingDependency."""
        super().__init__()
        self._errors: deque[str] = deque(maxlen=_KEPT_LINES)

    @property
    def errors(self) -> list[str]:
        """The last errors, oldest first, each on one line."""
        return list(self._errors)

    @property
    def says_out_of_memory(self) -> bool:
        """Whether one of the last errors is that the GPU's memory does not suffice."""
        return any(sign in line.lower() for line in self.errors for sign in _OUT_OF_MEMORY)

    def forget(self) -> None:
        """Keep nothing of what was said so far, which belongs to a failure that was told."""
        self._errors.clear()

    def log(self, severity: Any, msg: str) -> None:
        """Take a line from TensorRT, from any of its threads; of a build come very many, most of them chatter."""
        kinds: Any = type(self)
        if severity in (kinds.ERROR, kinds.INTERNAL_ERROR):
            line = _one_line(msg)
            self._errors.append(line)
            _log.warning("TensorRT: %s", line)
        elif severity == kinds.WARNING:
            _log.debug("TensorRT: %s", _one_line(msg))


@functools.cache
def _log_of(_: ModuleType) -> Log:
    return Log()


def implementing(kind: type, interface: Any) -> Any:
    """The class `kind` as one that TensorRT takes for its own `interface`.

    TensorRT is imported when it is needed, so `interface` cannot stand among the bases of a class of ours.
    """
    return type(kind.__name__, (kind, interface), {})


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def _numbers(module: ModuleType) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", str(module.__version__))[:3])


def _advice(error: Exception) -> str:
    if _JETSON.exists():
        return (
            f"TensorRT cannot be imported ({error}). On Jetson it comes with JetPack: "
            "sudo apt install python3-libnvinfer, and a virtual environment made with --system-site-packages"
        )
    if isinstance(error, MissingDependency):
        return str(error)
    return f"tensorrt cannot be imported ({error}). Try: pip install 'deepfake-edge[tensorrt]'"
