"""A build that the real library would refuse is refused, and one that it would take is what was asked for."""

from __future__ import annotations

import onnx
import pytest

from doubles.tensorrt.bench import (
    Lines,
    build,
    halves,
    network_flags,
    order,
    plain,
    quantised,
    with_operator,
)

_WEAK = ("8.6", "10.3", "10.7", "10.14", "10.16")


def refused(trt, graph, **wanted):
    """The log of a build that comes to nothing."""
    made = order(trt, graph, **wanted)
    assert made.parsed, made.lines.all
    assert made.builder.build_serialized_network(made.network, made.config) is None
    return made.lines


def test_version_8_needs_explicit_batch(trt, tensorrt_double):
    made = order(trt, plain(), network_flags=0)
    assert made.parsed == (tensorrt_double.version != "8.6")
    if not made.parsed:
        assert "explicit batch" in made.parser.get_error(0).desc()


def test_the_parser_names_every_node_that_it_refuses(trt, tensorrt_double):
    tensorrt_double.unsupported_operators.add("Erf")
    for graph, text in (
        (with_operator("Erf"), "No importer registered for op: Erf"),
        (with_operator("Gelu", "com.microsoft"), "No importer registered for op: Gelu"),
        (quantised(zero=3), "symmetric quantization"),
        (quantised(kind=onnx.TensorProto.UINT8), "symmetric quantization"),
        (b"not onnx at all", "Failed to parse ONNX model"),
    ):
        made = order(trt, graph)
        assert not made.parsed
        assert made.parser.num_errors >= 1
        assert text in made.parser.get_error(0).desc()
        assert made.network.num_outputs == 0


def test_an_empty_network_is_not_built(trt):
    made = order(trt, b"")
    assert made.builder.build_serialized_network(made.network, made.config) is None
    assert "at least one output" in made.lines


def test_half_needs_its_flag_or_strong_types(trt, tensorrt_double):
    if tensorrt_double.version in _WEAK:
        assert "kFP16 is not set" in refused(trt, halves())
        build(trt, halves(), flags=("FP16",))
        assert tensorrt_double.builds[-1].flags == ("FP16",)
    else:
        build(trt, halves())
    if tensorrt_double.version != "8.6":
        build(trt, halves(), strong=True)
        assert "STRONGLY_TYPED" in tensorrt_double.builds[-1].network_flags


def test_int8_needs_its_flag_or_strong_types(trt, tensorrt_double):
    if tensorrt_double.version in _WEAK:
        assert "kINT8" in refused(trt, quantised())
        build(trt, quantised(), flags=("INT8",))
    else:
        build(trt, quantised())


def test_precision_flags_do_not_go_with_strong_types(trt, tensorrt_double):
    if tensorrt_double.version.startswith("10"):
        assert "strongly typed" in refused(trt, halves(), flags=("FP16",), strong=True)


def test_tf32_is_allowed_until_it_is_cleared(trt):
    assert order(trt, plain(), tf32=True).config.get_flag(trt.BuilderFlag.TF32)
    assert not order(trt, plain()).config.get_flag(trt.BuilderFlag.TF32)


def test_a_dynamic_network_needs_a_profile_that_fits(trt):
    made = order(trt, plain())
    config = made.builder.create_builder_config()
    assert made.builder.build_serialized_network(made.network, config) is None
    assert "no optimization profile" in made.lines
    assert order(trt, plain(), batches=(4, 2, 8)).added == -1
    profile = made.builder.create_optimization_profile()
    assert config.add_optimization_profile(profile) == -1
    with pytest.raises(RuntimeError, match="inconsistent"):
        profile.set_shape("x", (1, 4), (2, 4), (8, 4, 1))
    with pytest.raises(RuntimeError, match="inconsistent"):
        profile.set_shape("x", (-1, 4), (2, 4), (8, 4))
    profile.set_shape("x", (1, 5), (2, 5), (8, 5))
    assert config.add_optimization_profile(profile) == 0
    assert made.builder.build_serialized_network(made.network, config) is None
    assert "do not fit" in made.lines


def test_the_record_says_what_was_asked(trt, tensorrt_double):
    build(trt, plain(), batches=(1, 3, 9))
    record = tensorrt_double.builds[-1]
    assert record.built
    assert record.onnx == plain()
    assert record.profiles == [{"x": ((1, 4), (3, 4), (9, 4))}]
    assert record.flags == ()


def test_a_timing_cache_saves_what_was_timed(trt, tensorrt_double):
    blob = b""
    for hits, misses in ((0, 1), (1, 0)):
        made = order(trt, plain())
        cache = made.config.create_timing_cache(blob)
        assert made.config.set_timing_cache(cache, False)
        assert made.builder.build_serialized_network(made.network, made.config) is not None
        assert (tensorrt_double.builds[-1].timing_hits, tensorrt_double.builds[-1].timing_misses) == (hits, misses)
        blob = bytes(made.config.get_timing_cache().serialize())
    other = made.config.create_timing_cache(b"")
    assert other.combine(cache, False)
    assert made.config.create_timing_cache(blob[:-1]) is None
    assert "damaged" in made.lines


def test_a_timing_cache_of_another_device_is_refused(trt, cuda_double):
    made = order(trt, plain())
    blob = bytes(made.config.create_timing_cache(b"").serialize())
    cuda_double.facts(compute_capability=(7, 2))
    cache = made.config.create_timing_cache(blob)
    assert not made.config.set_timing_cache(cache, False)
    assert made.config.get_timing_cache() is None
    assert made.config.set_timing_cache(cache, True)


@pytest.mark.parametrize("behaviour", ["watches", "cancels", "raises"])
def test_a_progress_monitor_is_told_and_may_cancel(trt, tensorrt_double, behaviour):
    if tensorrt_double.version == "8.6":
        assert not hasattr(trt, "IProgressMonitor")
        return
    calls = []

    class Monitor(trt.IProgressMonitor):
        def __init__(self):
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name, parent_phase, num_steps):
            calls.append(("start", phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name, step):
            calls.append(("step", phase_name, step))
            if behaviour == "raises":
                raise ValueError("stop")
            return behaviour == "watches"

        def phase_finish(self, phase_name):
            calls.append(("finish", phase_name))

    made = order(trt, plain())
    made.config.progress_monitor = Monitor()
    plan = made.builder.build_serialized_network(made.network, made.config)
    assert (plan is not None) == (behaviour == "watches")
    assert calls[0] == ("start", "Building Engine", None, 2)
    assert calls[-1] == ("finish", "Building Engine")
    assert (("finish", "Timing Tactics") in calls) == (behaviour == "watches")


def test_too_little_memory_gives_no_plan_and_leaks_none(trt, cuda_double):
    made = order(trt, plain())
    cuda_double.fail("cuMemAlloc_v2", 2)
    assert made.builder.build_serialized_network(made.network, made.config) is None
    assert "OutOfMemory" in made.lines
    assert cuda_double.live["device_allocations"] == 0
    assert made.builder.build_serialized_network(made.network, made.config) is not None


def test_faults_come_when_they_are_asked_for(trt, tensorrt_double):
    tensorrt_double.fail("build", after=1, lines=("Error Code 10: my own",))
    made = order(trt, plain())
    assert made.builder.build_serialized_network(made.network, made.config) is not None
    assert made.builder.build_serialized_network(made.network, made.config) is None
    assert "my own" in made.lines
    assert made.builder.build_serialized_network(made.network, made.config) is not None
    tensorrt_double.fail("parse", errors=((7, "Conv", "first"), (9, "Clip", "second")))
    parser = trt.OnnxParser(made.builder.create_network(network_flags(trt)), made.lines.logger)
    assert not parser.parse(plain())
    assert [parser.get_error(number).node() for number in range(parser.num_errors)] == [7, 9]
    tensorrt_double.fail("add_optimization_profile")
    assert order(trt, plain()).added == -1
    with pytest.raises(ValueError, match="no such point"):
        tensorrt_double.fail("biuld")


@pytest.mark.parametrize("point", ["create_network", "create_builder_config", "create_optimization_profile"])
def test_each_thing_that_is_made_may_be_none(trt, tensorrt_double, point):
    tensorrt_double.fail(point)
    builder = trt.Builder(Lines(trt).logger)
    made = getattr(builder, point)
    assert (made(network_flags(trt)) if point == "create_network" else made()) is None


def test_a_build_without_a_context_is_an_error(trt, tensorrt_double, gpu):
    made = order(trt, plain())
    gpu.pop()
    made.builder.build_serialized_network(made.network, made.config)
    gpu.push()
    assert "without a current CUDA context" in tensorrt_double.errors.pop(0)
    tensorrt_double.errors.clear()
