"""The double is what the module `tensorrt` is while a test asks for it."""

from __future__ import annotations

import importlib


def test_the_module_is_the_version_asked_for(tensorrt_double):
    trt = importlib.import_module("tensorrt")
    assert trt is tensorrt_double.module
    assert trt.__version__.startswith(tensorrt_double.version)
