"""What an engine computes is right only when everything around it is."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import threading

import numpy as np
import onnxruntime
import pytest

from doubles.tensorrt.bench import (
    Lane,
    Lines,
    X,
    build,
    conditional,
    halves,
    load,
    plain,
    quantised,
)
from doubles.tensorrt.plans import read_plan

_ILLEGAL_ADDRESS = 700


def expected(graph, rows):
    return onnxruntime.InferenceSession(graph).run(None, {"x": X[:rows]})[0]


@pytest.fixture
def loaded(trt, gpu):
    made = load(trt, build(trt, plain(), shared=True))
    yield made
    vars(made).clear()  # pytest keeps what a fixture gave until the test is over


@pytest.fixture
def lane(gpu, loaded):
    made = Lane(gpu, loaded)
    yield made
    made.context = None


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_an_engine_computes_what_onnx_runtime_computes(lane, rows):
    np.testing.assert_array_equal(lane.run(rows), expected(plain(), rows))


def test_int8_computes_its_graph(trt, gpu):
    weak = int(trt.__version__.partition(".")[0]) < 11
    plan = build(trt, quantised(), flags=("INT8",) if weak else ())
    np.testing.assert_array_equal(Lane(gpu, load(trt, plan)).run(4, wide=4), expected(quantised(), 4))


def test_an_engine_says_what_goes_in_and_out(trt, loaded):
    engine = loaded.engine
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    assert names == ["x", "y"]
    assert [engine.get_tensor_mode(name).name for name in names] == ["INPUT", "OUTPUT"]
    assert engine.get_tensor_dtype("x") == trt.DataType.FLOAT
    assert trt.nptype(engine.get_tensor_dtype("x")) is np.float32
    assert tuple(engine.get_tensor_shape("y")) == (-1, 3)
    assert [tuple(shape) for shape in engine.get_tensor_profile_shape("x", 0)] == [(1, 4), (2, 4), (8, 4)]
    assert engine.get_tensor_name(2) is None
    assert engine.get_tensor_mode("z") == trt.TensorIOMode.NONE


def test_fp32_with_tf32_is_not_fp32(trt, gpu, cuda_double):
    allowed = build(trt, plain(), tf32=True)
    wrong = Lane(gpu, load(trt, allowed)).run(8) - expected(plain(), 8)
    assert 1e-4 < np.abs(wrong).max() < 1e-2
    cuda_double.facts(compute_capability=(7, 5))
    older = build(trt, plain(), tf32=True)
    np.testing.assert_array_equal(Lane(gpu, load(trt, older)).run(8), expected(plain(), 8))


def test_the_fp16_flag_lets_fp32_layers_run_in_half(trt, gpu):
    if trt.__version__.startswith("11"):
        assert not hasattr(trt.BuilderFlag, "FP16")
        return
    wrong = Lane(gpu, load(trt, build(trt, plain(), flags=("FP16",)))).run(8) - expected(plain(), 8)
    assert np.abs(wrong).max() > 1e-4
    typed = Lane(gpu, load(trt, build(trt, halves(), flags=("FP16",)))).run(8)
    np.testing.assert_allclose(typed, expected(halves(), 8), atol=1e-2)


def test_without_a_wait_nothing_has_been_computed(lane):
    lane.shape(2)
    lane.copy_in(X[:2])
    assert lane.execute()
    assert np.isnan(lane.result(2)).all()
    lane.synchronise()
    np.testing.assert_array_equal(lane.result(2), expected(plain(), 2))


def test_without_a_copy_the_result_is_no_number(lane):
    lane.shape(2)
    assert lane.execute()
    lane.synchronise()
    assert np.isnan(lane.result(2)).all()


def test_a_stale_shape_computes_too_few_rows(lane):
    lane.run(2)
    lane.copy_in(X[:4])
    assert lane.execute()
    lane.synchronise()
    assert not np.array_equal(lane.result(4), expected(plain(), 4), equal_nan=True)


def test_shape_and_addresses_are_those_of_the_enqueue(lane, gpu):
    lane.shape(2)
    lane.copy_in(X[:2])
    assert lane.execute()
    lane.shape(8)
    assert lane.context.set_tensor_address("y", gpu.memory(8 * 16))
    assert lane.synchronise() == 0
    np.testing.assert_array_equal(lane.result(2), expected(plain(), 2))


@pytest.mark.parametrize("mistake", ["host pointer", "freed", "too small"])
def test_a_wrong_address_loses_the_context_when_it_is_used(lane, gpu, cuda_double, mistake):
    lane.shape(8)
    host = np.zeros(64, np.float32)
    address = {"host pointer": host.ctypes.data, "freed": lane.addresses["y"], "too small": gpu.memory(8 * 12 - 1)}
    if mistake == "freed":
        gpu.free(lane.addresses["y"])
    assert lane.context.set_tensor_address("y", address[mistake])
    lane.copy_in(X)
    assert lane.execute()
    assert cuda_double.sticky == 0
    assert lane.synchronise() == _ILLEGAL_ADDRESS
    assert cuda_double.sticky == _ILLEGAL_ADDRESS
    assert not lane.execute()


def test_what_is_not_set_is_not_run(trt, gpu, loaded, tensorrt_double):
    context, stream = loaded.context, gpu.stream()
    assert context.infer_shapes() == ["x"]
    assert tuple(context.get_tensor_shape("y")) == (-1, 3)
    assert not context.execute_async_v3(stream)
    assert "the shape of x is not specified" in loaded.lines
    assert context.set_input_shape("x", (2, 4))
    assert context.infer_shapes() == []
    assert tuple(context.get_tensor_shape("y")) == (2, 3)
    assert not context.execute_async_v3(stream)
    assert "Address is not set for tensor x" in loaded.lines
    assert not context.set_tensor_address("z", 256)
    assert not context.execute_async_v3(0)
    assert "default stream" in tensorrt_double.errors.pop()


@pytest.mark.parametrize("shape", [(0, 4), (9, 4), (2, 5), (2,)])
def test_a_shape_outside_the_profile_is_refused_and_changes_nothing(loaded, shape):
    assert loaded.context.set_input_shape("x", (3, 4))
    assert not loaded.context.set_input_shape("x", shape)
    assert "does not satisfy any optimization profiles" in loaded.lines
    assert tuple(loaded.context.get_tensor_shape("x")) == (3, 4)


def test_a_stream_that_is_not_there_is_refused(lane, loaded):
    lane.run(1)
    assert not lane.context.execute_async_v3(0x12345)
    assert "Cuda Runtime" in loaded.lines


def test_a_plan_of_another_version_or_device_or_damaged_is_not_loaded(trt, tensorrt_double, cuda_double):
    plan = build(trt, plain())
    lines = Lines(trt)
    runtime = trt.Runtime(lines.logger)
    foreign = dataclasses.replace(read_plan(plan), version="9.9.9").write()
    for wrong, text in (
        (b"", "Magic tag"),
        (b"a file of another kind", "Magic tag"),
        (plan[:-1], "Serialization"),
        (foreign, "expecting library version"),
    ):
        assert runtime.deserialize_cuda_engine(wrong) is None
        assert text in lines.all[-1]
    cuda_double.facts(compute_capability=(8, 6))
    assert runtime.deserialize_cuda_engine(plan) is None
    assert "incompatible device, expecting compute 8.6 got compute 8.7" in lines.all[-1]


def test_memory_is_taken_and_given_back(trt, gpu, cuda_double):
    plan = build(trt, plain())
    before = cuda_double.live["device_bytes"]
    loaded = load(trt, plan)
    taken = cuda_double.live["device_bytes"] - before
    size = "device_memory_size" if trt.__version__.startswith("8") else "device_memory_size_v2"
    assert taken >= getattr(loaded.engine, size)
    engine, context = loaded.engine, loaded.context
    del loaded, engine
    assert cuda_double.live["device_bytes"] == before + taken, "a context keeps its engine alive"
    del context
    gc.collect()
    assert cuda_double.live["device_bytes"] == before


@pytest.mark.parametrize("number", [0, 1])
def test_too_little_memory_gives_no_engine_or_no_context(trt, cuda_double, number):
    plan = build(trt, plain())
    lines = Lines(trt)
    cuda_double.fail("cuMemAlloc_v2", 2, after=number)
    engine = trt.Runtime(lines.logger).deserialize_cuda_engine(plan)
    assert (engine is None) == (number == 0)
    assert engine is None or engine.create_execution_context() is None
    assert "OutOfMemory" in lines


@pytest.mark.parametrize(
    ("point", "call"),
    [
        ("set_input_shape", lambda context, stream: context.set_input_shape("x", (1, 4))),
        ("set_tensor_address", lambda context, stream: context.set_tensor_address("x", 256)),
        ("execute_async_v3", lambda context, stream: context.execute_async_v3(stream)),
        ("infer_shapes", lambda context, stream: not context.infer_shapes()),
    ],
)
def test_each_call_can_fail(lane, tensorrt_double, point, call):
    lane.run(1)
    tensorrt_double.fail(point)
    assert not call(lane.context, lane.stream)
    assert call(lane.context, lane.stream)
    lane.synchronise()


def test_loading_can_fail(trt, tensorrt_double):
    plan = build(trt, plain())
    tensorrt_double.fail("deserialize", lines=("my own",))
    lines = Lines(trt)
    runtime = trt.Runtime(lines.logger)
    assert runtime.deserialize_cuda_engine(plan) is None
    assert "my own" in lines
    engine = runtime.deserialize_cuda_engine(plan)
    tensorrt_double.fail("create_execution_context")
    assert engine.create_execution_context() is None
    tensorrt_double.fail("out_of_memory")
    assert engine.create_execution_context() is None
    assert engine.create_execution_context() is not None
    tensorrt_double.fail("runtime")
    with pytest.raises(TypeError, match="nullptr"):
        trt.Runtime(lines.logger)


def test_numbers_can_be_wrong(lane, tensorrt_double):
    tensorrt_double.fail("wrong_numbers", times=None, change=lambda name, values: values + 1)
    np.testing.assert_allclose(lane.run(2), expected(plain(), 2) + 1, rtol=1e-6)


def test_two_streams_at_once_are_an_error(lane, gpu, tensorrt_double):
    lane.run(1)
    assert lane.execute()
    assert lane.context.execute_async_v3(gpu.stream())
    assert "second stream" in tensorrt_double.errors.pop()
    lane.synchronise()


def test_a_thread_between_anothers_shape_and_its_enqueue_is_an_error(lane, tensorrt_double):
    lane.run(1)
    lane.shape(2)
    other = threading.Thread(target=lambda: lane.context.set_input_shape("x", (3, 4)))
    other.start()
    other.join()
    assert lane.execute()
    assert "after another had changed" in tensorrt_double.errors.pop()
    lane.synchronise()


def test_a_context_may_go_from_thread_to_thread(lane, gpu):
    found = {}

    def work(rows):
        gpu.push()
        found[rows] = lane.run(rows)
        gpu.pop()

    for rows in (1, 5):
        thread = threading.Thread(target=work, args=(rows,))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(lane.run(2), expected(plain(), 2))
    np.testing.assert_array_equal(found[5], expected(plain(), 5))


def test_work_after_its_context_is_an_error(gpu, loaded, tensorrt_double):
    lane = Lane(gpu, loaded)
    lane.shape(1)
    lane.copy_in(X[:1])
    assert lane.execute()
    lane.context = loaded.context = None
    gc.collect()
    lane.synchronise()
    assert "after the context was freed" in tensorrt_double.errors.pop()


def test_a_second_context_shares_the_profile_only_where_it_was_allowed(trt, gpu):
    own = load(trt, build(trt, plain()))
    second = own.engine.create_execution_context()
    stream = gpu.stream()
    if trt.__version__.startswith("8"):
        assert (own.context.active_optimization_profile, second.active_optimization_profile) == (0, -1)
        assert not second.set_input_shape("x", (1, 4))
        with pytest.raises(RuntimeError, match="set optimization profile async"):
            second.set_optimization_profile_async(0, stream)
        shared = load(trt, build(trt, plain(), shared=True))
        second = shared.engine.create_execution_context()
    assert second.set_optimization_profile_async(0, stream)
    np.testing.assert_array_equal(Lane(gpu, own, context=second).run(2), expected(plain(), 2))


def capture(gpu, lane):
    """Record one enqueue; its return value, the driver's answer, and the graph."""
    driver, graph = gpu.driver, ctypes.c_uint64()
    stream = ctypes.c_void_p(lane.stream)
    assert driver.cuStreamBeginCapture_v2(stream, 1) == 0
    enqueued = lane.execute()
    code = driver.cuStreamEndCapture(stream, ctypes.byref(graph))
    return enqueued, code, graph


def test_a_graph_runs_what_was_captured_each_time(lane, gpu):
    lane.run(2)
    enqueued, code, graph = capture(gpu, lane)
    assert enqueued
    assert code == 0
    ready = ctypes.c_uint64()
    assert gpu.driver.cuGraphInstantiateWithFlags(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)) == 0
    for factor in (1, 2):
        lane.copy_in(X[:2] * factor)
        assert gpu.driver.cuGraphLaunch(ready, ctypes.c_void_p(lane.stream)) == 0
        assert lane.synchronise() == 0
        np.testing.assert_allclose(lane.result(2), expected(plain(), 2) * factor, rtol=1e-6)
    gpu.driver.cuGraphExecDestroy(ready)
    gpu.driver.cuGraphDestroy(graph)


def test_a_graph_needs_a_plain_run_at_its_shape_first(lane, gpu):
    lane.run(2)
    lane.shape(3)
    enqueued, code, _ = capture(gpu, lane)
    assert not enqueued
    assert code != 0
    np.testing.assert_array_equal(lane.run(3), expected(plain(), 3))


def test_a_network_with_loops_cannot_be_captured(trt, gpu):
    lane = Lane(gpu, load(trt, build(trt, conditional())))
    np.testing.assert_array_equal(lane.run(2, wide=4), X[:2])
    enqueued, code, _ = capture(gpu, lane)
    assert not enqueued
    assert code != 0
    np.testing.assert_array_equal(lane.run(2, wide=4), X[:2])


def user_managed(trt, engine, address, size_bytes):
    if trt.__version__.startswith("8"):
        context = engine.create_execution_context_without_device_memory()
        context.device_memory = address
    else:
        context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        context.set_device_memory(address, size_bytes)
    return context


def test_contexts_that_share_memory_run_one_after_the_other(trt, gpu, loaded, tensorrt_double):
    size = "device_memory_size" if trt.__version__.startswith("8") else "device_memory_size_v2"
    size_bytes = getattr(loaded.engine, size)
    address = gpu.memory(size_bytes)
    lanes = [Lane(gpu, loaded, context=user_managed(trt, loaded.engine, address, size_bytes)) for _ in range(2)]
    for lane in lanes:
        assert lane.context.set_optimization_profile_async(0, lane.stream)
        np.testing.assert_array_equal(lane.run(3), expected(plain(), 3))
    for lane in lanes:
        assert lane.execute()
    assert "second stream" in tensorrt_double.errors.pop()
    for lane in lanes:
        lane.synchronise()


def test_memory_that_is_too_small_is_not_taken(trt, gpu, loaded):
    if trt.__version__.startswith("8"):
        return
    context = user_managed(trt, loaded.engine, gpu.memory(16), 16)
    assert "setDeviceMemoryV2" in loaded.lines
    assert context.set_input_shape("x", (1, 4))
    assert context.set_tensor_address("x", gpu.memory(16))
    assert not context.execute_async_v3(gpu.stream())
    assert "device memory has not been set" in loaded.lines


def test_a_graph_must_not_run_once_its_context_has_changed(lane, gpu, tensorrt_double):
    lane.run(2)
    _, _, graph = capture(gpu, lane)
    ready = ctypes.c_uint64()
    assert gpu.driver.cuGraphInstantiateWithFlags(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)) == 0
    lane.shape(3)
    gpu.driver.cuGraphLaunch(ready, ctypes.c_void_p(lane.stream))
    lane.synchronise()
    assert "had changed" in tensorrt_double.errors.pop()
    gpu.driver.cuGraphExecDestroy(ready)
    gpu.driver.cuGraphDestroy(graph)
