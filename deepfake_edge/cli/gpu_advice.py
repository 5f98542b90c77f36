"""The command that brings what an NVIDIA GPU needs, by the machine: a desktop, or a Jetson with its JetPack."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path

from deepfake_edge.cli.jetpack import Jetson

_GUIDE = "docs/jetson.md"
_NVCC = Path("/usr/local/cuda/bin/nvcc")
_TENSORRT_RANGES = (
    ((8, 5), "8.5 and 8.6: flags ask for fp16 and int8"),
    ((10, 0), "10.x below 10.12: flags ask for fp16 and int8"),
    ((10, 12), "10.12 and newer: precision is in the graph alone"),
    ((11, 0), "11.x: precision is in the graph alone"),
)


def tensorrt_range(version: tuple[int, ...]) -> str:
    """How engines are built with a version of TensorRT, 8.5 or newer."""
    return [text for oldest, text in _TENSORRT_RANGES if version[:2] >= oldest][-1]


def binding_advice(jetson: Jetson | None, driver: str | None) -> str:
    """How to come by a CUDA binding.

    Args:
        jetson: None on a desktop.
        driver: the newest CUDA that the driver knows, such as `12.6`; None where there is no answer.
    """
    wheel = f"pip install 'cuda-python=={driver.partition('.')[0]}.*'" if driver else "pip install cuda-python"
    if jetson is not None:
        return f"Try: PATH=/usr/local/cuda/bin:$PATH pip install pycuda (compiles for minutes), or {wheel}"
    if shutil.which("nvcc") or _NVCC.exists():
        return f"Try: PATH=/usr/local/cuda/bin:$PATH pip install pycuda, or {wheel}"
    return f"Try: {wheel}; pycuda has to be compiled: sudo apt install nvidia-cuda-toolkit && pip install pycuda"


def tensorrt_advice(jetson: Jetson | None, driver: str | None) -> str:
    """How to come by TensorRT; arguments as for `binding_advice`."""
    if jetson is None:
        return _desktop_tensorrt(driver)
    jetpack = jetson.jetpack
    if jetpack is None:
        return f"L4T {jetson.l4t} is not known here: wanted JetPack 5.1 or newer. See {_GUIDE}"
    if jetpack.major == 5:
        return (
            f"This JetPack's TensorRT module is for Python {jetpack.python}, and deepfake-edge needs 3.10 or newer. "
            f"See {_GUIDE}, JetPack 5"
        )
    here = ".".join(platform.python_version_tuple()[:2])
    if here != jetpack.python:
        return (
            f"This JetPack's TensorRT module is for Python {jetpack.python}, this is {here}. "
            "Try: /usr/bin/python3 -m venv --system-site-packages ENV, and install deepfake-edge there"
        )
    return (
        "Try: sudo apt install nvidia-jetpack python3-libnvinfer, and an environment that sees it: "
        "/usr/bin/python3 -m venv --system-site-packages ENV"
    )


def _desktop_tensorrt(driver: str | None) -> str:
    if driver is None:
        return "First a driver. Then: pip install tensorrt-cu13 (tensorrt-cu12 where nvidia-smi says CUDA 12)"
    major = int(driver.partition(".")[0])
    if major < 12:
        return f"This driver is for CUDA {driver}: wanted 12 or newer. Try: sudo apt install nvidia-driver-580"
    return f"Try: pip install tensorrt-cu{min(major, 13)}"
