"""`deepfake-edge doctor`: what this machine has, and how to get the rest. Tries things; trusts no version number."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge import __version__
from deepfake_edge.cache import cache_dir
from deepfake_edge.choices import FINDERS, choose_finder
from deepfake_edge.cli.doctor_gpu import Row, gpu_rows
from deepfake_edge.data import Frame
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.optional import require
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime
from deepfake_edge.tables import table

_PROBE_PX = 64
_CODECS = (("mp4v", ".mp4"), ("avc1", ".mp4"), ("VP80", ".webm"), ("MJPG", ".avi"))
# x86, then ARM.
_LOWER_PRECISION = frozenset({
    "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "amx_bf16", "avx512_fp16", "amx_fp16",
    "asimddp", "i8mm", "bf16", "asimdhp",
})  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("doctor", help="which runtimes, face finders and codecs this machine has")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a table a topic. Returns 0: what is absent is optional, or the program would not have started."""
    topics: list[tuple[str, Callable[[], list[Row]]]] = [
        ("this package", _package),
        ("runtimes on the CPU", _runtimes),
        ("NVIDIA GPU", gpu_rows),
        ("face finders", _finders),
        ("reading and writing video", _video),
        ("workshop (deepfake-edge convert)", _workshop),
    ]
    for title, rows in topics:
        print(f"{title}\n{table([(f'  {name}', state, note) for name, state, note in rows()])}\n")
    return 0


def _package() -> list[Row]:
    from deepfake_edge import preprocess

    return [
        ("deepfake-edge", __version__, f"Python {platform.python_version()}, {platform.machine()}, {sys.platform}"),
        ("native kernels", preprocess.kernel(), "chosen for this CPU"),
        ("CPU", str(os.cpu_count()), f"logical cores; for lower precision: {', '.join(_cpu_features()) or 'nothing'}"),
        ("cache", str(cache_dir()), "set DEEPFAKE_EDGE_CACHE to move it"),
    ]


def _cpu_features() -> list[str]:
    """Instructions for int8 (VNNI, dot products), bfloat16 and half precision, by Linux's names for them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return []
    return sorted(_LOWER_PRECISION & set(text.split()))


def _runtimes() -> list[Row]:
    from deepfake_edge.runtimes import openvino, ort

    rows: list[Row] = [("onnxruntime", "yes", f"{ort.version()}, CPU")]
    try:
        found = openvino.capabilities()
        rows.append(("openvino", "yes", f"{openvino.version()}, CPU, {'with' if 'BF16' in found else 'without'} bf16"))
    except DeepfakeEdgeError as error:
        rows.append(("openvino", "no", _one_line(error)))
    taken = choose_runtime(RuntimeOptions()).choice
    return [*rows, ("auto takes", taken.name, taken.reason)]


def _finders() -> list[Row]:
    picture = np.zeros((_PROBE_PX, _PROBE_PX, 3), np.uint8)
    rows: list[Row] = []
    for name in FINDERS:
        if name == "mtcnn" and importlib.util.find_spec("mtcnn") is not None:
            rows.append((name, "yes", "installed; not tried, because it loads TensorFlow"))
            continue
        try:
            _, make = choose_finder(name)
            make().find([Frame(0, 0.0, picture)])
            rows.append((name, "yes", "tried on a picture"))
        except DeepfakeEdgeError as error:
            rows.append((name, "no", _one_line(error)))
    return [*rows, ("auto takes", choose_finder("auto")[0].name, choose_finder("auto")[0].reason)]


def _video() -> list[Row]:
    cv2 = require("cv2")
    build = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in cv2.getBuildInformation().splitlines())
    }
    rows: list[Row] = [
        ("OpenCV", cv2.__version__, "4.8 or newer, below 5"),
        ("FFmpeg", build.get("FFMPEG", "NO"), "video files and rtsp://"),
        ("GStreamer", build.get("GStreamer", "NO"), "pipelines; JetPack's own OpenCV has it, the wheels do not"),
    ]
    for codec, suffix in _CODECS:
        works = _round_trip(cv2, codec, suffix)
        rows.append((f"{codec} {suffix}", "yes" if works else "no", "written and read back" if works else "no encoder"))
    return rows


def _round_trip(cv2: Any, codec: str, suffix: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / f"probe{suffix}")
        writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 25.0, (_PROBE_PX, _PROBE_PX))
        if not writer.isOpened():
            return False
        for _ in range(3):
            writer.write(np.full((_PROBE_PX, _PROBE_PX, 3), 128, np.uint8))
        writer.release()
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
        try:
            return bool(capture.read()[0])
        finally:
            capture.release()


def _workshop() -> list[Row]:
    missing = [name for name in ("tensorflow", "tf2onnx", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        return [("convert", "no", f"without {', '.join(missing)}; pip install 'deepfake-edge[convert]'")]
    return [("convert", "yes", "tensorflow, tf2onnx and onnx are installed")]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
