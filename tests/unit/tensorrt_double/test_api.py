"""The module has the names, signatures and numbers of its version, and no others."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from doubles.tensorrt import VERSIONS, _simulated, manifest
from doubles.tensorrt.bench import Lines, build, network_flags, order, plain
from doubles.tensorrt.signatures import parameters

# Overloads of deserialize_cuda_engine that are not simulated: nothing makes what they take.
_READERS = {"stream_reader", "stream_reader_v2"}


def test_an_unknown_name_is_no_attribute(trt):
    with pytest.raises(AttributeError):
        trt.Bilder  # noqa: B018
    with pytest.raises(AttributeError):
        trt.BuilderFlag.FP17  # noqa: B018
    builder = trt.Builder(trt.Logger())
    with pytest.raises(AttributeError):
        builder.build_serialised_network  # noqa: B018


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("BuilderFlag.FP16", {"8.6": 0, "10.3": 0, "10.7": 0, "10.14": 0, "10.16": 0}),
        ("BuilderFlag.VERSION_COMPATIBLE", {"8.6": 15, "10.3": 13, "10.7": 13, "11.0": 12, "11.4": 12}),
        ("BuilderFlag.TF32", {"8.6": 7, "10.3": 6, "11.4": 6}),
        ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH", {"8.6": 0, "10.3": 0, "10.16": 0}),
        ("NetworkDefinitionCreationFlag.STRONGLY_TYPED", {"10.3": 1, "10.16": 1, "11.0": 0, "11.4": 0}),
    ],
)
def test_members_carry_the_numbers_of_their_version(trt, tensorrt_double, name, numbers):
    kind, member = name.split(".")
    found = getattr(getattr(trt, kind), member, None)
    if tensorrt_double.version in numbers:
        assert int(found) == numbers[tensorrt_double.version]
        assert repr(found) == f"<{name}: {numbers[tensorrt_double.version]}>"
    elif name.endswith(("FP16", "EXPLICIT_BATCH")) and tensorrt_double.version.startswith("11"):
        assert found is None


def test_the_old_api_is_there_where_it_was_and_says_that_it_is_not_simulated(trt, tensorrt_double):
    made = order(trt, plain())
    if tensorrt_double.version == "8.6":
        with pytest.raises(NotImplementedError, match=r"Builder\.build_engine"):
            made.builder.build_engine(made.network, made.config)
        with pytest.raises(NotImplementedError, match="max_workspace_size"):
            made.config.max_workspace_size = 1
    else:
        assert not hasattr(made.builder, "build_engine")
        with pytest.raises(AttributeError, match="max_workspace_size"):
            made.config.max_workspace_size = 1


def test_arguments_are_held_against_the_signature(trt):
    made = order(trt, plain())
    with pytest.raises(TypeError, match="incompatible function arguments"):
        made.config.set_flag(7)
    with pytest.raises(TypeError):
        made.config.set_flag()
    with pytest.raises(TypeError):
        made.config.set_timing_cache(None, False)
    with pytest.raises(TypeError):
        made.config.set_flag(trt.MemoryPoolType.WORKSPACE)
    with pytest.raises(TypeError):
        made.config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, 1.5)
    with pytest.raises(TypeError):
        made.config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, -1)
    with pytest.raises(TypeError):
        made.builder.build_serialized_network(made.config, made.network)
    with pytest.raises(TypeError):
        made.parser.parse("text")
    with pytest.raises(TypeError):
        trt.Builder()
    made.config.set_memory_pool_limit(pool=trt.MemoryPoolType.WORKSPACE, pool_size=np.int64(5))
    assert made.config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 5


def test_properties_are_read_only_unknown_or_typed(trt):
    made = order(trt, plain())
    with pytest.raises(AttributeError):
        made.config.num_optimization_profiles = 2
    with pytest.raises(AttributeError):
        made.config.workspace = 1
    with pytest.raises(TypeError):
        made.config.builder_optimization_level = "high"
    with pytest.raises(TypeError):
        made.config.hardware_compatibility_level = 1
    made.config.builder_optimization_level = 2
    assert made.config.builder_optimization_level == 2


def test_what_only_the_library_makes_has_no_constructor(trt):
    with pytest.raises(TypeError, match="No constructor defined"):
        trt.ICudaEngine()


def test_a_subclass_must_reach_the_interfaces_own_init_and_write_its_methods(trt, tensorrt_double):
    class Forgetful(trt.ILogger):
        def __init__(self) -> None:
            self.lines = []

    with pytest.raises(TypeError, match=r"__init__\(\) must be called"):
        Forgetful()

    class Silent(trt.ILogger):
        pass

    assert Silent().log(trt.ILogger.Severity.ERROR, "text") is None
    assert "pure virtual" in tensorrt_double.errors.pop()


def test_progress_monitors_are_there_from_version_10(trt, tensorrt_double):
    config = order(trt, plain()).config
    if tensorrt_double.version == "8.6":
        assert not hasattr(trt, "IProgressMonitor")
        assert not hasattr(config, "progress_monitor")
    else:
        with pytest.raises(TypeError):
            config.progress_monitor = object()


def test_host_memory_is_a_buffer_and_nothing_more(trt):
    made = order(trt, plain())
    plan = made.builder.build_serialized_network(made.network, made.config)
    assert bytes(plan) == memoryview(plan).tobytes()
    assert plan.nbytes == len(bytes(plan))
    with pytest.raises(TypeError):
        len(plan)
    with pytest.raises(AttributeError):
        plan.hex()


def test_a_deprecated_name_warns_as_the_real_one(trt, tensorrt_double):
    engine = trt.Runtime(trt.Logger()).deserialize_cuda_engine(build(trt, plain()))
    if tensorrt_double.version == "8.6":
        assert engine.device_memory_size > 0
    elif tensorrt_double.version.startswith("10"):
        with pytest.deprecated_call():
            assert engine.device_memory_size == engine.device_memory_size_v2
    else:
        assert not hasattr(engine, "device_memory_size")


def test_a_logger_that_raises_is_an_error(trt, tensorrt_double):
    class Breaking(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()

        def log(self, severity, msg):
            raise ValueError("broken")

    network = trt.Builder(Breaking()).create_network(1 << 30)
    assert network is None
    assert "broken" in tensorrt_double.errors.pop()


def test_unknown_network_flags_give_no_network(trt):
    lines = Lines(trt)
    assert trt.Builder(lines.logger).create_network(1 << 20) is None
    assert "unknown flags" in lines
    assert trt.Builder(lines.logger).create_network(network_flags(trt)) is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_every_signature_can_be_read(version):
    for item in manifest(version)["classes"].values():
        for signatures in item["methods"].values():
            for signature in signatures:
                parameters(signature)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_simulation_takes_the_arguments_that_the_manifest_names(version):
    classes = manifest(version)["classes"]
    for name, simulation in _simulated().items():
        for method, signatures in classes.get(name, {"methods": {}})["methods"].items():
            own = vars(simulation).get(method)
            for signature in signatures if inspect.isfunction(own) else ():
                wanted = {item.name for item in parameters(signature) if not item.name.startswith("arg")}
                taken = set(inspect.signature(own).parameters)
                assert wanted <= taken | _READERS, (name, method)
