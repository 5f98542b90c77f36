"""The process in which an untrusted model file meets TensorFlow, seen from inside; `sandbox` is its outside.

It confines itself before it looks at anything, and then does what it is asked, one task after another.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake_edge.converters.exporting.export import moved_transposes
from deepfake_edge.converters.failures import last_line
from deepfake_edge.converters.order import Order
from deepfake_edge.converters.origin import Origin, open_origin
from deepfake_edge.converters.truth_file import pack_truth, unpack_arrays
from deepfake_edge.errors import ConversionError, DeepfakeEdgeError
from deepfake_edge.spec import ModelSpec

CROPS, TRUTH = "crops.npz", "truth.npz"
BACKBONE, HEAD = "backbone.onnx", "head.onnx"
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def main(limits: str) -> None:
    """Serve requests from stdin until it ends.

    Args:
        limits: `sandbox.Limits` as JSON.
    """
    _confine(json.loads(limits))
    # Whatever a library prints goes with stderr; replies have a channel of their own.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)

    def send(reply: Mapping[str, Any]) -> None:
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()

    bench = _Bench(lambda text: send({"progress": text}))
    for line in sys.stdin.buffer:
        request = json.loads(line)
        try:
            send({"answer": bench.do(request["task"], request["arguments"])})
        except DeepfakeEdgeError as error:
            send({"error": _told(error)})
        except MemoryError:
            send({"error": {"type": "ConversionError", "message": "conversion needs more memory than its limit"}})
        except Exception as error:  # noqa: BLE001 -- whatever a hostile file sets off, the user gets one line
            send({"error": {"type": "ConversionError", "message": f"conversion failed: {last_line(error)}"}})


class _Bench:
    """What has been opened, and what can be done with it."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress
        self._origin: Origin | None = None

    def do(self, task: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        tasks: Mapping[str, Callable[..., dict[str, Any]]] = {
            "open": self._open,
            "export": self._export,
            "reference": self._reference,
        }
        answer = tasks[task](**arguments)
        return {**answer, "peak_memory_bytes": _peak_memory_bytes()}

    def _open(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self._origin = open_origin(Order(**order), Path.cwd(), self._progress)
        return asdict(self._origin.findings())

    def _export(self) -> dict[str, Any]:
        assert self._origin is not None
        networks = self._origin.export()
        for name, graph in ((BACKBONE, networks.backbone), (HEAD, networks.head)):
            if graph is not None:
                Path(name).write_bytes(graph)
        transposed = networks.backbone is not None and moved_transposes(networks.backbone)
        return {"backbone": networks.backbone is not None, "head": networks.head is not None, "transposed": transposed}

    def _reference(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        assert self._origin is not None
        given = unpack_arrays(Path(CROPS).read_bytes())
        truth = self._origin.reference(given["crops"], given["windows"], ModelSpec.from_json(spec).crop)
        Path(TRUTH).write_bytes(pack_truth(truth))
        return {}


def _peak_memory_bytes() -> int:
    """The most that this process has held; what `getrusage` says begins with what its parent held."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _confine(limits: Mapping[str, int]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    # Not to outlive a parent that is killed, and never to gain a right that it has not got now.
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for kind, most in (
        (resource.RLIMIT_DATA, limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_s"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # A little above the soft limit of processor time: at the hard one the kernel kills without a word.
        last = allowed + 10 if kind == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else allowed
        resource.setrlimit(kind, (allowed, last))


def _told(error: DeepfakeEdgeError) -> dict[str, Any]:
    reasons = list(error.reasons) if isinstance(error, ConversionError) else []
    return {"type": type(error).__name__, "message": str(error).partition("\n  - ")[0], "reasons": reasons}
