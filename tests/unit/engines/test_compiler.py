"""ONNX -> plan on a TensorRT double of seven versions: the recipe of each, and every way it fails."""

from __future__ import annotations

import logging

import pytest

from deepfake_edge.engines.compiler import Compiled, Order, compile_engine, default_workspace
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.errors import BundleError, DeviceLost, InferenceError, OutOfDeviceMemory
from fakes import brightness_graph, serialise

WORKSPACE = 64 * 1024**2


def order(bundle, precision="fp32", **changes) -> Order:
    graph = bundle.variants[precision].backbone
    return Order("model backbone", **{
        "graph": graph, "precision": precision, "batch": BatchProfile(1, 4, 6), "workspace_bytes": WORKSPACE, **changes,
    })  # fmt: skip


def is_typed(double) -> bool:
    return double.version in ("10.14", "10.16", "11.0", "11.4")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_each_version_gets_its_own_flags_and_the_profile(tensorrt_double, device, clip_bundle, precision):
    compiled = compile_engine(order(clip_bundle, precision), device)
    (build,) = tensorrt_double.builds
    assert build.built
    assert build.onnx == clip_bundle.variants[precision].backbone
    flag = set() if precision == "fp32" or is_typed(tensorrt_double) else {precision.upper()}
    assert set(build.flags) == flag
    wanted = {"8.6": ("EXPLICIT_BATCH",)}.get(tensorrt_double.version, ())
    assert tuple(build.network_flags) == (("STRONGLY_TYPED",) if is_typed(tensorrt_double) else wanted)
    assert build.profiles == [{"crops": ((1, 3, 8, 8), (4, 3, 8, 8), (6, 3, 8, 8))}]
    assert build.workspace == WORKSPACE
    assert build.settings["builder_optimization_level"] == 3
    assert build.settings["hardware_compatibility_level"] == "NONE"
    assert build.settings["previews"] == (["PROFILE_SHARING_0806"] if tensorrt_double.version == "8.6" else [])
    assert len(compiled.plan) > len(build.onnx)


def test_what_was_timed_once_is_not_timed_again(tensorrt_double, device, clip_bundle):
    first = compile_engine(order(clip_bundle), device)
    again = compile_engine(order(clip_bundle, timing=first.timing), device)
    before, after = tensorrt_double.builds
    assert before.timing_hits == 0
    assert before.timing_misses > 0
    assert (after.timing_hits, after.timing_misses) == (before.timing_misses, 0)
    assert again.timing == first.timing


@pytest.mark.parametrize("point", ["create_timing_cache", "set_timing_cache"])
def test_timings_that_tensorrt_refuses_are_dropped(tensorrt_double, device, clip_bundle, point):
    first = compile_engine(order(clip_bundle), device)
    tensorrt_double.fail(point)
    again = compile_engine(order(clip_bundle, timing=first.timing), device)
    assert tensorrt_double.builds[1].timing_hits == 0
    assert again.timing == first.timing


def test_timings_of_another_file_are_dropped(tensorrt_double, device, clip_bundle):
    assert compile_engine(order(clip_bundle, timing=b"x" * 100), device).plan


FAILURES = {
    "builder": "factory function returned nullptr",
    "create_network": "create_network gave nothing",
    "create_builder_config": "create_builder_config gave nothing",
    "create_optimization_profile": "create_optimization_profile gave nothing",
    "parser": "factory function returned nullptr",
    "build": "build_serialized_network gave nothing",
    "add_optimization_profile": "add_optimization_profile refused batches of (1, 4, 6)",
    "serialize_timing_cache": "serialize gave nothing",
}


@pytest.mark.parametrize("point", FAILURES)
def test_whatever_gives_nothing_is_one_typed_error_with_tensorrts_own_words(
    tensorrt_double, device, clip_bundle, point
):
    tensorrt_double.fail(point)
    with pytest.raises(InferenceError) as failure:
        compile_engine(order(clip_bundle), device)
    said = str(failure.value)
    assert said.startswith(f"model backbone: TensorRT {tensorrt_double.module.__version__} built no engine: ")
    assert FAILURES[point] in said
    assert "\n" not in said
    if point == "build":
        assert "it said: Error Code 10: Internal Error (Could not find any implementation for node" in said
    assert compile_engine(order(clip_bundle), device).plan


def test_no_timing_cache_at_all_is_no_way_to_build(tensorrt_double, device, clip_bundle):
    tensorrt_double.fail("set_timing_cache", times=None)
    with pytest.raises(InferenceError, match="set_timing_cache"):
        compile_engine(order(clip_bundle), device)


def test_every_reason_why_a_graph_cannot_be_parsed_is_listed(tensorrt_double, device, clip_bundle):
    tensorrt_double.unsupported_operators.update(["MatMul", "GlobalAveragePool"])
    with pytest.raises(BundleError, match=r"cannot parse the graph: .*node 0.*GlobalAveragePool.*node 2.*MatMul"):
        compile_engine(order(clip_bundle), device)


def test_bytes_that_are_no_graph_are_refused(tensorrt_double, device, clip_bundle):
    with pytest.raises(BundleError, match="cannot parse"):
        compile_engine(order(clip_bundle, graph=b"nonsense"), device)


@pytest.mark.parametrize("shape", [[2, 3, 8, 8], ["n", 3, "h", 8]])
def test_only_the_batch_may_be_free(tensorrt_double, device, clip_bundle, shape):
    import onnx

    model = onnx.load_from_string(brightness_graph("outputs", "Sigmoid"))
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("crops", onnx.TensorProto.FLOAT, shape))
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "m"
    with pytest.raises(BundleError, match="only the first axis is free"):
        compile_engine(order(clip_bundle, graph=model.SerializeToString()), device)


def test_two_inputs_are_refused(tensorrt_double, device, clip_bundle):
    import onnx

    graph = serialise(
        [onnx.helper.make_node("Relu", ["crops"], ["outputs"])], {}, ("outputs", ["n", 3]), ("crops", ["n", 3])
    )
    model = onnx.load_from_string(graph)
    model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["n", 3]))
    with pytest.raises(BundleError, match="wanted one input, the graph has 2"):
        compile_engine(order(clip_bundle, graph=model.SerializeToString()), device)


def test_too_little_memory_says_what_to_give_less_of(tensorrt_double, device, clip_bundle):
    tensorrt_double.fail("out_of_memory:build")
    with pytest.raises(OutOfDeviceMemory, match=r"does not suffice .* MiB are free now.*--batch or --workspace"):
        compile_engine(order(clip_bundle), device)
    assert compile_engine(order(clip_bundle), device).plan


def test_a_gpu_that_is_lost_is_told_apart(tensorrt_double, device, clip_bundle, cuda_double):
    tensorrt_double.fail("build")
    cuda_double.fail("cuMemGetInfo_v2", 700)
    with pytest.raises(DeviceLost):
        compile_engine(order(clip_bundle), device)


def test_tensorrts_errors_go_to_the_log(tensorrt_double, device, clip_bundle, caplog):
    caplog.set_level(logging.DEBUG)
    tensorrt_double.fail("build", lines=("first line\n  of two", "second"))
    with pytest.raises(InferenceError, match="it said: first line of two; second"):
        compile_engine(order(clip_bundle), device)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("WARNING", "TensorRT: first line of two") in said


def test_the_workspace_is_half_of_what_is_free_and_a_gibibyte_at_most(device, cuda_double):
    with device.current():
        free, _ = device.memory_info()
    assert default_workspace(device) == min(free // 2, 1024**3)
    with device.current(), device.allocate(free - 1024**2):
        assert default_workspace(device) <= 512 * 1024


def test_progress_is_told_in_the_callers_thread(tensorrt_double, device, clip_bundle, monkeypatch):
    import threading

    monkeypatch.setattr("deepfake_edge.engines.monitor._LOOK_EVERY_S", 0.01)
    tensorrt_double.slow_down(0.03)
    stages, threads = [], set()

    def progress(stage):
        stages.append(stage)
        threads.add(threading.current_thread())

    assert isinstance(compile_engine(order(clip_bundle), device, progress), Compiled)
    assert threads == {threading.main_thread()}
    assert {stage.engine for stage in stages} == {"model backbone"}
    shares = [stage.share for stage in stages if stage.share is not None]
    assert shares == sorted(shares)
    if tensorrt_double.version == "8.6":
        assert not shares
    else:
        assert {stage.phase for stage in stages} >= {"Timing Tactics"}
        assert 0.5 <= max(shares) <= 1.0


def test_ctrl_c_ends_a_build_at_its_next_step(tensorrt_double, device, clip_bundle, monkeypatch):
    monkeypatch.setattr("deepfake_edge.engines.monitor._LOOK_EVERY_S", 0.01)
    tensorrt_double.slow_down(0.02)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compile_engine(order(clip_bundle), device, interrupt)
    # Before 10 TensorRT does not ask, and the build goes on to its end.
    assert tensorrt_double.builds[0].built is (tensorrt_double.version == "8.6")
