"""Fixtures that put doubles in the place of what is not there: a GPU, and NVIDIA's libraries."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from doubles.cuda import CudaDouble, RealDriverLoadedError, load_cuda_double
from doubles.tensorrt import VERSIONS, TensorRtDouble, install

__all__ = ["cuda_double", "tensorrt_double"]


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


@pytest.fixture(params=VERSIONS, ids=[f"trt{version}" for version in VERSIONS])
def tensorrt_double(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cuda_double: CudaDouble
) -> Iterator[TensorRtDouble]:
    """TensorRT, once for each version, over the CUDA double; afterwards nothing of it may be left, nor misused."""
    double = install(monkeypatch, request.param, cuda_double)
    yield double
    live = dict(double.live)
    assert not double.errors, f"misuse of the TensorRT double: {double.errors}"
    assert not live, f"left of the TensorRT double: {live}"
