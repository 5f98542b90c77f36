"""The double does as the real bindings do, as far as those can be tried without the library."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from doubles.tensorrt import manners
from doubles.tensorrt.read_bindings import BindingsUnavailable, install, run_beside


@pytest.mark.slow
def test_the_double_does_as_the_real_bindings(tensorrt_double, tmp_path):
    try:
        install(tensorrt_double.version, tmp_path)
    except BindingsUnavailable as error:
        pytest.skip(f"the bindings of TensorRT {tensorrt_double.version} cannot be had here: {error}")
    (tmp_path / "numpy").symlink_to(Path(np.__file__).parent)
    (tmp_path / "numpy.libs").symlink_to(Path(np.__file__).parents[1] / "numpy.libs")
    printed = run_beside(str(tmp_path), [manners.__file__])
    assert manners.tried(tensorrt_double.module) == json.loads(printed.splitlines()[-1])
    tensorrt_double.errors.clear()
