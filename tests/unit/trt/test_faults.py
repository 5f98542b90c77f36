"""Whatever fails once, over doubles of CUDA and TensorRT: a typed error or the right numbers, and nothing is left."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deepfake_edge.cuda.device import open_device
from deepfake_edge.errors import DeviceLost, EngineMismatch, InferenceError, MissingDependency, OutOfDeviceMemory
from deepfake_edge.runtimes.trt import TensorRtNetwork
from unit.trt.engines import MOST, Engines, rows

WAIT_S = 30
OUT_OF_MEMORY, INVALID_VALUE, ILLEGAL_ADDRESS = 2, 1, 700
# Where freeing fails, or a capture's end, the double keeps what it has; the rest only the double of TensorRT asks.
SPARED = (
    "cuMemFree", "cuStreamDestroy", "cuGraphDestroy", "cuGraphExecDestroy", "cuCtxPopCurrent", "cuStreamEndCapture",
    "cuCtxGet", "cuDeviceGet", "cuDeviceTotalMem", "cuGetError",
)  # fmt: skip
# Points of the double of TensorRT, how they fail, and what the error then names.
POINTS = {
    "runtime": ({}, "Runtime failed"),
    "deserialize": ({}, "the engine cannot be loaded"),
    "create_execution_context": ({}, "create_execution_context gave none"),
    "set_input_shape": ({}, "set_input_shape refused"),
    "infer_shapes": ({}, "infer_shapes wanted more"),
    "infer_shapes raises": ({"raises": True}, "infer_shapes failed"),
    "set_tensor_address": ({}, "set_tensor_address refused"),
    "execute_async_v3": ({}, "execute_async_v3 failed"),
    "out_of_memory:deserialize": ({}, "the engine cannot be loaded"),
    "out_of_memory:create_execution_context": ({}, "create_execution_context gave none"),
}


def use(engines: Engines, plan: bytes, expected, errors: list[Exception]) -> None:
    """Load, compute in every way, close; what fails goes to `errors`, what does not must be right."""
    wanted = {count: expected(rows(count)) for count in (2, 5, MOST + 1)}

    def fill(address, stream):
        engines.device.copy_to_device(address, rows(2), stream)

    try:
        network = engines.network(plan, lanes=1)
    except Exception as error:  # noqa: BLE001
        errors.append(alone(error))
        engines.nothing_is_left()
        return
    try:
        for count in (2, 5, 2, MOST + 1, "device", 2):
            try:
                found = network.run_on_device(2, fill) if count == "device" else network.run({"crops": rows(count)})
            except Exception as error:  # noqa: BLE001
                errors.append(alone(error))
                continue
            for name, value in wanted[2 if count == "device" else count].items():
                np.testing.assert_array_equal(found[name], value)
    finally:
        network.close()
    engines.nothing_is_left()


def alone(error: Exception) -> Exception:
    """Without what it came from: the double's own frames keep the double's objects."""
    error.__cause__ = error.__context__ = None
    return error


def driver_calls(engines: Engines, plan: bytes, expected) -> dict[str, int]:
    """How often each function of the driver is called when all is well."""
    before = len(engines.cuda.calls)
    use(engines, plan, expected, errors := [])
    assert not errors
    made = engines.cuda.calls[before:]
    return {name: made.count(name) for name in dict.fromkeys(made)}


def some(count: int) -> list[int]:
    """Which of so many calls fail: the first ones, one in the middle, the last."""
    return sorted({0, min(1, count - 1), count // 2, count - 1})


def test_every_function_of_the_driver_fails_once(engines, expected):
    plan = engines.plan()
    counts = driver_calls(engines, plan, expected)
    for function, count in counts.items():
        if function.startswith(SPARED):
            continue
        for after in some(count):
            allocates = "Alloc" in function
            # pycuda asks twice for memory of the device, TensorRT once.
            times = 2 if function == "cuMemAlloc_v2" and engines.device.binding == "pycuda" else 1
            engines.cuda.fail(function, OUT_OF_MEMORY if allocates else INVALID_VALUE, after, times)
            use(engines, plan, expected, errors := [])
            assert engines.cuda.failures_left < times, f"{function} {after}"
            if engines.cuda.failures_left:
                with engines.device.current():
                    engines.device.allocate(1).free()
            said = [f"{function} {after}: {error!r}" for error in errors if not isinstance(error, InferenceError)]
            assert not said
            assert len(errors) <= 1
            if allocates and errors:
                assert isinstance(errors[0], OutOfDeviceMemory), f"{function} {after}: {errors}"


@pytest.mark.parametrize("point", POINTS)
def test_every_call_of_tensorrt_fails_once(engines, expected, point):
    plan, after, failed = engines.plan(), 0, 0
    how, named = POINTS[point]
    while True:
        engines.tensorrt.fail(point.partition(" ")[0], after=after, **how)
        use(engines, plan, expected, errors := [])
        fault = engines.tensorrt._library._faults[point.partition(" ")[0]][-1]
        if fault.times == 1:
            break
        assert len(errors) <= 1
        for error in errors:
            assert isinstance(error, EngineMismatch if point == "deserialize" else InferenceError), repr(error)
            assert isinstance(error, OutOfDeviceMemory) == ("out_of_memory" in point), repr(error)
            assert str(error).startswith(f"tiny: TensorRT: {named}")
        failed += len(errors)
        after += 1
    assert not errors
    assert failed, "the fault was never met"


def test_after_a_sticky_error_nothing_works_any_more_and_nothing_hangs(cuda_double, tensorrt_double, expected):
    with open_device() as device:
        engines = Engines(device, tensorrt_double, cuda_double)
        plan = engines.plan()
        counts = driver_calls(engines, plan, expected)
    for function, count in counts.items():
        if function.startswith(SPARED):
            continue
        for after in some(count):
            cuda_double.reset()
            with open_device() as device:
                engines = Engines(device, tensorrt_double, cuda_double)
                cuda_double.fail(function, ILLEGAL_ADDRESS, after)
                use(engines, plan, expected, errors := [])
                assert cuda_double.sticky == ILLEGAL_ADDRESS
                strange = [error for error in errors if not isinstance(error, InferenceError)]
                assert not strange, f"{function} {after}: {strange}"
                # The last push is that of `close`, which has nothing to say.
                assert errors or function.startswith("cuCtxPushCurrent"), f"{function} {after}"
                assert all(isinstance(error, DeviceLost) for error in errors[-1:]), f"{function} {after}: {errors}"
                with pytest.raises(DeviceLost, match="lost to this process"):
                    engines.network(plan)


def test_a_lost_device_fails_every_waiting_and_later_call_at_once(engines):
    network = engines.network(lanes=1)
    inside, go_on = threading.Event(), threading.Event()

    def fill(address, stream):
        # Beyond the lane's memory: the device faults when it runs.
        engines.device.copy_to_device(address + (1 << 40), rows(1), stream)
        inside.set()
        assert go_on.wait(WAIT_S)

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(network.run_on_device, 1, fill)]
        assert inside.wait(WAIT_S)
        calls += [pool.submit(network.run, {"crops": rows(1)}) for _ in range(3)]
        go_on.set()
        for call in calls:
            with pytest.raises(DeviceLost):
                call.result(WAIT_S)
    before = len(engines.cuda.calls)
    with pytest.raises(DeviceLost):
        network.run({"crops": rows(1)})
    assert len(engines.cuda.calls) == before
    network.close()
    network.close()


def test_what_tensorrt_said_is_told_once(engines):
    network = engines.network(graphs=False)
    for line in ("first reason", "second reason"):
        engines.tensorrt.fail("execute_async_v3", lines=(line,))
        with pytest.raises(InferenceError, match=f"^tiny: TensorRT: execute_async_v3 failed: {line}$"):
            network.run({"crops": rows(1)})


def test_a_plan_of_another_tensorrt_or_a_damaged_one(engines):
    plan = engines.plan()
    for wrong in (plan[:-1], b"", plan.replace(engines.tensorrt.module.__version__.encode(), b"7.2.3")):
        with pytest.raises(EngineMismatch, match=r"the engine cannot be loaded.*deepfake-edge build"):
            engines.network(wrong)
    engines.nothing_is_left()


def test_without_tensorrt(cuda_double, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with open_device() as device, pytest.raises(MissingDependency, match="tensorrt"):
        TensorRtNetwork(b"", device, name="tiny")


def test_without_memory_for_a_second_lane_it_goes_on_with_one(engines, expected, caplog):
    network = engines.network(lanes=2, graphs=False)
    inside, go_on = threading.Event(), threading.Event()

    def fill(address, stream):
        engines.device.copy_to_device(address, rows(1), stream)
        inside.set()
        assert go_on.wait(WAIT_S)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(network.run_on_device, 1, fill)
        assert inside.wait(WAIT_S)
        engines.cuda.fail("cuMemHostAlloc", OUT_OF_MEMORY)
        calls = [pool.submit(network.run, {"crops": rows(2)}) for _ in range(3)]
        while len(network._merger._waiting) < 3:
            threading.Event().wait(0.005)
        go_on.set()
        first.result(WAIT_S)
        for call in calls:
            np.testing.assert_array_equal(call.result(WAIT_S)["features"], expected(rows(2))["features"])
    assert engines.cuda.live["streams"] == 1
    assert "tiny: goes on with fewer batches at a time" in caplog.text


def test_where_nothing_is_captured_it_goes_on_without_graphs_and_says_so_once(engines, expected, caplog):
    engines.cuda.fail("cuGraphInstantiateWithFlags", INVALID_VALUE)
    network = engines.network()
    for _ in range(2):
        for count in (2, 5):
            found = network.run({"crops": rows(count)})
            np.testing.assert_array_equal(found["mirror"], expected(rows(count))["mirror"])
    assert engines.cuda.live["graphs"] == 0
    assert caplog.text.count("goes on without") == 1


def test_an_engine_whose_profile_one_context_has_for_itself(engines, expected):
    """Before TensorRT 9, where an engine was built without sharing: no graphs, one lane, the right numbers."""
    network = engines.network(engines.plan(shared=False))
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(network.run, {"crops": rows(1 + seed % 3, seed)}) for seed in range(20)]
        for seed, call in enumerate(calls):
            wanted = expected(rows(1 + seed % 3, seed))["features"]
            np.testing.assert_array_equal(call.result(WAIT_S)["features"], wanted)
    if engines.tensorrt.version == "8.6":
        assert engines.cuda.live["graphs"] == 0
        assert engines.cuda.live["streams"] == 1
