"""What `deepfake-edge doctor` says of NVIDIA GPUs.

It is asked in a process of its own: a broken driver may hang or crash whoever asks, and says so nowhere else.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deepfake_edge.cli.gpu_advice import binding_advice, tensorrt_advice, tensorrt_range
from deepfake_edge.cli.jetpack import Jetson, find_jetson
from deepfake_edge.errors import InvalidInput

if TYPE_CHECKING:
    from deepfake_edge.cuda.device import Device, DeviceFacts

Row = tuple[str, str, str]
# A Jetson's first CUDA context takes its time, and so does 1 GB of libraries from an SD card.
_PATIENCE_S = 90.0
_MOST_GPUS = 16
_BINDINGS = (("pycuda", "pycuda"), ("cuda-python", "cuda-bindings"))
_ANSWER = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from deepfake_edge.cli import doctor_gpu; {}"


def gpu_rows(patience_s: float = _PATIENCE_S, question: str = "doctor_gpu.answer()") -> list[Row]:
    """What there is of a GPU and of what it needs, with the command that brings the rest. Never raises.

    Args:
        patience_s: how long the driver and the libraries may take.
        question: what the process runs; it writes rows as JSON.
    """
    search = json.dumps([path for path in sys.path if path and os.path.isabs(path)])
    command = [sys.executable, "-I", "-X", "utf8", "-c", _ANSWER.format(question), search]
    try:
        with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=errors, env=_environment())
            try:
                code = child.wait(patience_s)
            except subprocess.TimeoutExpired:
                child.kill()
                # What hangs inside a driver does not end, whatever it is sent.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(1)
                return [("GPU", "?", f"the driver gave no answer within {patience_s:g} s. Try: sudo reboot")]
            told.seek(0)
            errors.seek(0)
            return _rows(code, told.read(), errors.read())
    except OSError as error:
        return [("GPU", "?", f"no process can be started to ask for it: {error}")]


def _environment() -> dict[str, str]:
    """Ours, without an empty place among the libraries' folders, as OpenCV leaves one: it means the current folder."""
    folders = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(folder)]
    others = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return {**others, "LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else others


def _rows(code: int, told: bytes, errors: bytes) -> list[Row]:
    if code == 0:
        return [(str(name), str(state), str(note)) for name, state, note in json.loads(told)]
    lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
    how = f"crashed ({signal.Signals(-code).name})" if code < 0 else "failed"
    return [("GPU", "?", f"asking for it {how}: {lines[-1]}. Do the driver and the CUDA libraries fit each other?")]


def answer() -> None:
    """Write the rows to the standard output, where libraries must not write."""
    with os.fdopen(os.dup(1), "w") as told:
        os.dup2(2, 1)
        json.dump(ask(), told)


def ask(root: Path = Path("/")) -> list[Row]:
    """The rows, asked in this process.

    Args:
        root: the folder with the files that say which Jetson this is.
    """
    jetson = find_jetson(root)
    gpus, driver = _gpus()
    rows = [] if jetson is None else [_board(jetson)]
    rows += gpus
    rows.append(_binding(jetson, driver))
    rows.append(_tried("tensorrt", partial(_tensorrt, jetson, driver)))
    rows.append(_tried("engines", _engines))
    rows.append(_tried("onnxruntime-cuda", _onnxruntime_cuda))
    return rows


def _tried(name: str, row: Callable[[], Row]) -> Row:
    try:
        return row()
    except Exception as error:  # noqa: BLE001 - whatever breaks here is what the user came to learn
        return name, "no", _one_line(error)


def _gpus() -> tuple[list[Row], str | None]:
    """Two rows for every GPU that CUDA finds, and the newest CUDA that its driver knows, such as `12.6`."""
    rows: list[Row] = []
    driver = None
    try:
        from deepfake_edge.cuda.device import open_device

        for ordinal in range(_MOST_GPUS):
            with open_device(ordinal) as device:
                driver = device.facts.driver_version
                rows += [_gpu(device.facts), _tried(f"crops on GPU {ordinal}", partial(_crops, device))]
    except Exception as error:  # noqa: BLE001 - as in _tried; after the last GPU it is InvalidInput
        if not (rows and isinstance(error, InvalidInput)):
            rows.append(("GPU", "no", _one_line(error)))
    return rows, driver


def _board(jetson: Jetson) -> Row:
    board = jetson.board or "a Jetson"
    if jetson.jetpack is None:
        return "board", board, f"L4T {jetson.l4t}: not known here; wanted JetPack 5.1 or newer"
    jetpack = jetson.jetpack
    found = f"JetPack {jetson.installed or jetpack.name}, L4T {jetson.l4t}"
    brings = f"brings CUDA {jetpack.cuda}, TensorRT {jetpack.tensorrt}, Python {jetpack.python}"
    missing = "" if jetson.installed else "; not all of it is installed: sudo apt install nvidia-jetpack"
    return "board", board, f"{found}; {brings}{missing}"


def _gpu(facts: DeviceFacts) -> Row:
    major, minor = facts.compute_capability
    memory = f"{facts.memory_bytes / 1024**3:.1f} GiB" + (", shared with the CPU" if facts.integrated else "")
    note = f"compute capability {major}.{minor}, {memory}, driver for CUDA {facts.driver_version}"
    return f"GPU {facts.ordinal}", facts.name, note


def _binding(jetson: Jetson | None, driver: str | None) -> Row:
    found = [f"{name} {version}" for name, package in _BINDINGS if (version := _version(package))]
    if found:
        return "CUDA binding", "yes", " and ".join(found)
    return "CUDA binding", "no", binding_advice(jetson, driver)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tensorrt(jetson: Jetson | None, driver: str | None) -> Row:
    if "tensorrt" not in sys.modules and importlib.util.find_spec("tensorrt") is None:
        return "tensorrt", "no", f"is not installed. {tensorrt_advice(jetson, driver)}"
    from deepfake_edge.engines.library import version, version_numbers

    return "tensorrt", version(), tensorrt_range(version_numbers())


def _crops(device: Device) -> Row:
    from deepfake_edge.cuda.crops import why_not

    reason = why_not(device)
    name = f"crops on GPU {device.facts.ordinal}"
    return name, "no" if reason else "yes", reason or "the package has a kernel for it"


def _engines() -> Row:
    from deepfake_edge.engines.store import EngineStore

    store = EngineStore()
    entries = store.list()
    usable = sum(entry.sidecar is not None for entry in entries)
    if not entries:
        return "engines", "none", f"in {store.folder}. To have one: deepfake-edge build model.dfe"
    flawed = f", {len(entries) - usable} damaged (deepfake-edge build --clean)" if usable < len(entries) else ""
    return "engines", str(usable), f"in {store.folder}{flawed}. What they are: deepfake-edge build --list"


def _onnxruntime_cuda() -> Row:
    from deepfake_edge.runtimes import ort, ort_cuda

    reason = ort_cuda.available()
    return "onnxruntime-cuda", "no" if reason else "yes", reason or f"{ort.version()}, tried on a convolution"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
