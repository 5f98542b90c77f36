"""The process in which an untrusted model file meets TensorFlow, seen from outside.

It starts with an empty environment, a folder of its own and limits on memory, processor time, file size and wall
time; it is given checked copies, never the user's file, and what it gives back is checked again. Requests and
replies are JSON, a line each; arrays and networks are files in the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from deepfake_edge import errors
from deepfake_edge.converters.order import HDF5_WALL_S
from deepfake_edge.errors import ConversionError, DeepfakeEdgeError, InvalidInput

_GIB = 1024**3
# More than any machine has; the system's own calls take no more.
_MOST_BYTES, _MOST_S = 2**62, 10**9
_MAX_REPLY_BYTES = 4 * 1024**2
_MAX_LINE = 4000
# -I keeps the current folder and PYTHON* variables out; the parent's own search path comes in by name.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from deepfake_edge.converters.worker import main; main(sys.argv[2])"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the process may use.

    Attributes:
        memory_bytes: private memory; TensorFlow alone takes most of the least, 1 GiB.
        cpu_s: processor time, over all threads.
        wall_s: time from its start to its last answer.
        file_bytes: the largest file that it may write.
    """

    memory_bytes: int = 12 * _GIB
    cpu_s: int = 4 * 3600
    wall_s: int = 3600
    file_bytes: int = 4 * _GIB

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = _MOST_S if name.endswith("_s") else _MOST_BYTES
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise InvalidInput(f"limits: {name}: wanted a whole number from 1 to {most}, got {value!r}")
        if self.memory_bytes < _GIB:
            raise InvalidInput(f"limits: memory_bytes: wanted at least {_GIB} (1 GiB), got {self.memory_bytes}")


class Sandbox:
    """The process, started on entering and killed on leaving; a context manager.

    `folder` is private to it and the caller, and vanishes at the end.
    """

    def __init__(self, limits: Limits, progress: Callable[[str], None] | None = None) -> None:
        """Prepare.

        Args:
            limits: what the process may use.
            progress: is told what the process says it is doing.
        Raises:
            ConversionError: there is no room for temporary files.
        """
        self._limits = limits
        self._progress = progress
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="deepfake-edge.")
            # Without a name, so that nothing can be put in its place.
            self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the folder
        except OSError as error:
            raise ConversionError(_no_room(error)) from error
        self.folder = Path(self._folder.name)
        self._deadline = 0.0
        self._buffer = b""

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Have the process do something and wait for it; the first task starts it.

        Args:
            task: the name of a function of `worker`.
            arguments: plain JSON values.
        Returns:
            the task's answer, plain JSON values: not to be trusted.
        Raises:
            DeepfakeEdgeError: of the type that the task raised.
            ConversionError: it hit a limit, crashed, or gave no answer.
        """
        process = self._process or self._start()
        request = json.dumps({"task": task, "arguments": arguments}).encode() + b"\n"
        try:
            assert process.stdin is not None
            process.stdin.write(request)
            process.stdin.flush()
        except OSError:
            raise self._fallen() from None
        while True:
            reply = self._reply()
            if "progress" in reply:
                if self._progress is not None:
                    self._progress(one_line(reply["progress"]))
            elif "error" in reply:
                raise _error(reply["error"])
            else:
                answer = reply.get("answer")
                if not isinstance(answer, dict):
                    raise ConversionError("the conversion process gave an answer that is none")
                return answer

    def write(self, name: str, data: bytes) -> None:
        """Put a new file into its folder.

        Raises:
            ConversionError: there is no room for it, or something else stands in its place.
        """
        try:
            # Never through a link that the process may have left there.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with open(os.open(self.folder / name, flags, 0o600), "wb") as file:
                file.write(data)
        except OSError as error:
            raise ConversionError(_no_room(error)) from error

    def read(self, name: str) -> bytes:
        """A file that the process has written; nothing else that it may have put there under that name.

        Raises:
            ConversionError: it is absent, no plain file, or larger than the limit.
        """
        try:
            # Neither through a link nor waiting for whoever opens the other end of a pipe.
            with open(os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                found = os.fstat(file.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or found.st_size > self._limits.file_bytes:
                    raise ConversionError(f"the conversion process left no plain file as {name}")
                return file.read(found.st_size)
        except OSError as error:
            raise ConversionError(f"the conversion process left no {name}: {error.strerror}") from error

    def close(self) -> None:
        """Kill the process and remove its folder; may be called twice."""
        if self._process is not None:
            process, self._process = self._process, None
            _kill(process)
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self._said.close()
        self._folder.cleanup()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[bytes]:
        search = [path for path in sys.path if path and os.path.isabs(path)]
        environment = {
            "HOME": str(self.folder), "TMPDIR": str(self.folder), "KERAS_HOME": str(self.folder),
            "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        # Where the system keeps its libraries; without it some installations cannot start Python at all. OpenCV leaves
        # an empty entry behind, which means the current folder.
        libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
        if libraries := [path for path in libraries if os.path.isabs(path)]:
            environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        self._deadline = time.monotonic() + self._limits.wall_s
        given = [json.dumps(search), json.dumps(asdict(self._limits))]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", _START, *given],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,
            )
        except OSError as error:
            raise ConversionError(f"the conversion process cannot be started: {error}") from error
        return self._process

    def _reply(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        while b"\n" not in self._buffer:
            left = self._deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise ConversionError(f"conversion took longer than its limit of {self._limits.wall_s} s")
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            if not more:
                raise self._fallen()
            self._buffer += more
            if len(self._buffer) > _MAX_REPLY_BYTES:
                raise ConversionError("the conversion process gave an answer that is too long")
        line, _, self._buffer = self._buffer.partition(b"\n")
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict):
            raise ConversionError("the conversion process gave an answer that is none")
        return reply

    def _fallen(self) -> ConversionError:
        """Why there is no process any more."""
        assert self._process is not None
        try:
            code = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            return ConversionError("the conversion process stopped answering")
        if code == -signal.SIGXCPU:
            return ConversionError(f"conversion used more than its limit of {self._limits.cpu_s} s of processor time")
        if code == -signal.SIGALRM:
            return ConversionError(f"its HDF5 content could not be checked within {HDF5_WALL_S} s: it is damaged")
        if code == -signal.SIGXFSZ:
            return ConversionError(f"conversion wrote a file larger than its limit of {self._limits.file_bytes} bytes")
        limit = f"its memory limit is {self._limits.memory_bytes / _GIB:.3g} GiB"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return ConversionError(f"the conversion process was ended by {name} ({limit})")
        return ConversionError(f"the conversion process ended with code {code} ({limit}): {self._last_words()}")

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(size - 2000, 0))
        lines = self._said.read(2000).decode("utf-8", "replace").strip().splitlines()
        return one_line(lines[-1]) if lines else "it said nothing"


def _no_room(error: OSError) -> str:
    said = error.strerror or str(error)
    return f"the temporary folder {tempfile.gettempdir()}: {said}; set TMPDIR to a folder with room for the model"


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _error(value: Any) -> DeepfakeEdgeError:
    """An error of ours, from what the process wrote of it."""
    if not isinstance(value, Mapping):
        return ConversionError("the conversion process gave an error that is none")
    message, reasons = one_line(value.get("message")), value.get("reasons")
    reasons = [one_line(item) for item in reasons] if isinstance(reasons, list) else []
    kind = getattr(errors, str(value.get("type")), None)
    if kind is None or not isinstance(kind, type) or not issubclass(kind, DeepfakeEdgeError):
        kind = ConversionError
    return kind(message, reasons) if issubclass(kind, ConversionError) else kind(message)


def one_line(value: Any) -> str:
    """What the process says, as one line that does nothing to a terminal."""
    return "".join(character for character in str(value)[:_MAX_LINE] if character.isprintable())
