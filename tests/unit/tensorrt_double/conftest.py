"""The double, with a GPU around it that owes nothing to the product."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from doubles.tensorrt.bench import Gpu


@pytest.fixture
def gpu(cuda_double: Any) -> Iterator[Gpu]:
    made = Gpu(cuda_double)
    made.push()
    yield made
    made.close()


@pytest.fixture
def trt(tensorrt_double: Any, gpu: Gpu) -> ModuleType:
    """The module, with a context to work in."""
    return tensorrt_double.module
