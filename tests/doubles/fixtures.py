"""Fixtures that put doubles in the place of what is not there: a GPU, and NVIDIA's libraries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doubles.cuda import CudaDouble, RealDriverLoadedError, load_cuda_double

__all__ = ["cuda_double"]


@pytest.fixture
def cuda_double() -> Iterator[CudaDouble]:
    """A CUDA driver with one device that computes nothing; afterwards nothing may be left allocated on it."""
    try:
        double = load_cuda_double()
    except RealDriverLoadedError as error:
        pytest.skip(str(error))
    double.reset()
    yield double
    left = {name: count for name, count in double.live.items() if count}
    errors = list(double.errors)
    depth = double.context_depth
    double.reset(enabled=False)
    assert not errors, f"work on the CUDA double raised {errors}"
    assert not left, f"left on the CUDA double: {left}"
    assert depth == 0, f"{depth} contexts are still pushed in this thread"
