"""The one door through which optional and system-dependent packages come in."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from deepfake_edge.errors import MissingDependency

_OPENCV_SYSTEM_LIBRARIES = ("libGL", "libgthread", "libglib", "libSM", "libXext", "libxcb")
# ONNX Runtime reads it once, when it is loaded.
_ONNX_RUNTIME_TELEMETRY = "ORT_DISABLE_TELEMETRY"
_OPENVINO_TELEMETRY = "openvino_telemetry"


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Import `module`, or say how to get it. None is let to tell its makers that it is used.

    Args:
        module: what to import, e.g. `tensorrt`.
        extra: the extra of this package that brings it, e.g. `convert`.
    Raises:
        MissingDependency: it is absent or broken; the message names the command that mends it.
    """
    try:
        with _silence():
            return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(_advice(module, extra, error)) from error


@contextmanager
def _silence() -> Iterator[None]:
    """No telemetry from what is imported: left to themselves, ONNX Runtime (from 1.29 on) and OpenVINO keep an
    identifier in the user's home and send events over the network.

    ONNX Runtime heeds a variable, which whoever wants its telemetry may set to 0; OpenVINO does without the package
    that sends, where that cannot be imported.
    """
    os.environ.setdefault(_ONNX_RUNTIME_TELEMETRY, "1")
    before = sys.modules.get(_OPENVINO_TELEMETRY)
    sys.modules[_OPENVINO_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_OPENVINO_TELEMETRY]
        if before is not None:
            sys.modules[_OPENVINO_TELEMETRY] = before


def _advice(module: str, extra: str | None, error: ImportError) -> str:
    if module == "cv2" and any(library in str(error) for library in _OPENCV_SYSTEM_LIBRARIES):
        return (
            f"OpenCV is installed but a system library is not ({error}). "
            "On Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
        )
    package = f"'deepfake-edge[{extra}]'" if extra else "deepfake-edge"
    absent = isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
    what = f"{module} is not installed" if absent else f"{module} cannot be imported ({error})"
    return f"{what}. Try: pip install {package}"
