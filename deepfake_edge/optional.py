"""The one door through which optional and system-dependent packages come in."""

from __future__ import annotations

import importlib
from types import ModuleType

from deepfake_edge.errors import MissingDependency

_OPENCV_SYSTEM_LIBRARIES = ("libGL", "libgthread", "libglib", "libSM", "libXext", "libxcb")


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Import `module`, or say how to get it.

    Args:
        module: what to import, e.g. `tensorrt`.
        extra: the extra of this package that brings it, e.g. `convert`.
    Raises:
        MissingDependency: it is absent or broken; the message names the command that mends it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependency(_advice(module, extra, error)) from error


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
