"""TensorRT gets one logger in a process, which is never freed: it keeps a pointer to the first that it meets."""

from __future__ import annotations

import gc
import weakref

import pytest

from deepfake_edge.engines import library
from deepfake_edge.engines.compiler import Order, compile_engine
from deepfake_edge.engines.loading import LoadedEngine
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.errors import EngineMismatch, InferenceError, OutOfDeviceMemory
from doubles.tensorrt.building import Builder
from doubles.tensorrt.running import Runtime

MIB = 1024**2


@pytest.fixture
def given(monkeypatch):
    """The loggers that builders and runtimes of the double are given, held weakly."""
    found: list[weakref.ref] = []
    for kind in (Builder, Runtime):

        def watched(self, library, logger, _made=kind.__init__):
            found.append(weakref.ref(logger))
            _made(self, library, logger)

        monkeypatch.setattr(kind, "__init__", watched)
    return found


def order(clip_bundle) -> Order:
    return Order("x", clip_bundle.variants["fp32"].head, "fp32", BatchProfile(1, 1, 2), 64 * MIB)


def test_all_get_the_same_one_and_it_outlives_them(given, clip_bundle, device, tensorrt_double):
    plan = compile_engine(order(clip_bundle), device).plan
    with device.current():
        engines = [LoadedEngine(plan, device, name=name) for name in "ab"]
        engines.pop(0).close()
        gc.collect()
        assert len(given) == 3
        assert {reference() for reference in given} == {library.log()}
        engines.pop().close()


def test_a_failed_build_leaves_no_lines_to_another_failure(clip_bundle, device, tensorrt_double):
    tensorrt_double.fail("out_of_memory:build")
    with pytest.raises(OutOfDeviceMemory):
        compile_engine(order(clip_bundle), device)
    with device.current(), pytest.raises(EngineMismatch) as caught:
        LoadedEngine(b"no plan", device, name="x")
    assert "memory" not in str(caught.value).lower()


def test_what_one_engine_told_is_not_told_of_another(clip_bundle, device, tensorrt_double):
    plan = compile_engine(order(clip_bundle), device).plan
    with device.current():
        engines = [LoadedEngine(plan, device, name=name) for name in "ab"]
        tensorrt_double.fail("out_of_memory:create_execution_context")
        with pytest.raises(OutOfDeviceMemory, match=r"^a: "):
            engines[0].make_context()
        tensorrt_double.fail("create_execution_context")
        with pytest.raises(InferenceError, match=r"^b: ") as caught:
            engines[1].make_context()
        assert not isinstance(caught.value, OutOfDeviceMemory)
        for engine in engines:
            engine.close()
