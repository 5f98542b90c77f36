"""What is measured lives in a process of its own, loads once, and runs bursts on request.

In one process, thread pools that spin and memory that is shared would disturb one another. Between bursts a process
waits for its next request and takes no processor time. Requests and replies are JSON, a line each.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from deepfake_edge import errors
from deepfake_edge.errors import DeepfakeEdgeError, InferenceError
from deepfake_edge.tables import printable

# -I keeps the current folder and PYTHON* variables out; the parent's own search path comes in by name.
_START = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); importlib.import_module(sys.argv[2]).main()"
)
_PATIENCE_S = 600.0
_LEAST_CALLS = 3


class Contender:
    """A process that is measured, seen from outside: started at once, killed on leaving; a context manager."""

    def __init__(self, module: str, title: str) -> None:
        """Start it.

        Args:
            module: its `main()` calls `serve`.
            title: what to call it in messages.
        Raises:
            InferenceError: the system starts no process.
        """
        self._title = title
        self._buffer = b""
        search = [path for path in sys.path if path and os.path.isabs(path)]
        # Without a name, so that nothing is left behind whatever happens.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 -- closed with the process
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", "-c", _START, json.dumps(search), module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                # Ctrl-C goes to the parent alone, which ends it.
                start_new_session=True,
            )
        except OSError as error:
            self._said.close()
            raise InferenceError(f"{title}: its process cannot be started: {error}") from error

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Have the process do something and wait for it.

        Args:
            task: one of those that it serves.
            arguments: plain JSON values.
        Raises:
            DeepfakeEdgeError: of the type that the task raised.
            InferenceError: the process died, or gives no answer within 10 minutes.
        """
        request = json.dumps({"task": task, "arguments": arguments}).encode() + b"\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError:
            raise self._died() from None
        reply = json.loads(self._line())
        if "error" in reply:
            kind = getattr(errors, reply["error"]["type"])
            raise kind(reply["error"]["message"])
        answer: dict[str, Any] = reply["answer"]
        return answer

    def close(self) -> None:
        """End the process; may be called twice."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._said.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + _PATIENCE_S
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise InferenceError(f"{self._title}: its process gives no answer for {_PATIENCE_S:g} s")
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            if not more:
                raise self._died()
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _died(self) -> InferenceError:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            how = "was killed, as the system does where memory runs out"
        elif code < 0:
            how = f"was ended by signal {-code} ({signal.strsignal(-code)})"
        else:
            how = f"ended with code {code}"
        return InferenceError(f"{self._title}: its process {how}: {self._last_words()}")

    def _last_words(self) -> str:
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(size - 2000, 0))
        lines = self._said.read(2000).decode("utf-8", "replace").strip().splitlines()
        return printable(lines[-1]) if lines else "it said nothing"


def serve(tasks: Mapping[str, Callable[..., Mapping[str, Any]]]) -> None:
    """Answer requests until the parent is gone: the inside of a `Contender`.

    Args:
        tasks: by name; each takes and gives plain JSON values. What it raises of this package's errors is raised
            again in the parent; anything else ends the process.
    """
    # Libraries may print; what they say goes where errors go.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any]
        try:
            reply = {"answer": tasks[request["task"]](**request["arguments"])}
        except DeepfakeEdgeError as error:
            reply = {"error": {"type": type(error).__name__, "message": str(error)}}
        print(json.dumps(reply), file=replies, flush=True)


def times_ms(call: Callable[[], object], seconds: float) -> list[float]:
    """Call again and again.

    Args:
        call: what is timed. The first call, which wakes threads and fills caches, is not counted.
        seconds: for how long, or for three calls where these take longer.
    Returns:
        milliseconds of each call.
    """
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < _LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append((time.perf_counter() - start) * 1000.0)
    return times


def memory_bytes() -> dict[str, int]:
    """Memory of the calling process: `resident` now and at its `peak`; empty where the system is not Linux."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return {}
    return {name: int(lines[key].split()[0]) * 1024 for name, key in (("resident", "VmRSS"), ("peak", "VmHWM"))}
