"""A GPU that is not there, through each binding that is."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from deepfake_edge.cuda.device import BINDINGS, Device, open_device
from doubles.cuda import CudaDouble

_PACKAGES = {"pycuda": "pycuda", "cuda-python": "cuda.bindings"}


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(params=BINDINGS)
def binding(request: pytest.FixtureRequest) -> str:
    if not _installed(_PACKAGES[request.param]):
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture
def device(binding: str, cuda_double: CudaDouble) -> Iterator[Device]:
    """Open on the driver double; nothing may be left of it."""
    with open_device(0, binding) as device:
        yield device
