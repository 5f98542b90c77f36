"""A double of the compiled CUDA kernel: the same source, built for the CPU, for the double of CUDA's driver."""

from __future__ import annotations

import functools
from pathlib import Path

from doubles.compiled import compiled

_FOLDER = Path(__file__).parent
_NATIVE = _FOLDER.parents[2] / "deepfake_edge" / "native"
_HEADERS = (
    _FOLDER / "cuda_fp16.h",
    _FOLDER / "host_cuda.hpp",
    _FOLDER.parent / "cuda" / "kernel.h",
    _NATIVE / "cuda" / "crops.cu",
    _NATIVE / "cuda" / "plan.hpp",
    _NATIVE / "core" / "pixel.hpp",
)
_FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", f"-I{_FOLDER}")


@functools.cache
def kernel_double() -> bytes:
    """What stands for crops.fatbin where CUDA's driver is a double."""
    return b"double:" + bytes(compiled("crops.so", [_FOLDER / "kernel.cpp"], _HEADERS, _FLAGS))
