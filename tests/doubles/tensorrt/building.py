"""Simulated: what turns ONNX into a plan."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import Any

from doubles.tensorrt.driver import DriverRefusal
from doubles.tensorrt.graph import Graph
from doubles.tensorrt.library import Build, Library
from doubles.tensorrt.plans import Plan, Shapes
from doubles.tensorrt.values import HostMemory

_OUT_OF_MEMORY = (
    "[defaultAllocator.cpp::allocate::55] Error Code 1: Cuda Runtime (out of memory)",
    "[virtualMemoryBuffer.cpp::resizePhysical::144] Error Code 2: OutOfMemory (Requested size was {0} bytes.)",
)
_PRECISION_FLAGS = ("FP16", "BF16", "INT8", "FP8", "INT4")
_AMPERE = (8, 0)


class Builder:
    """Builder."""

    api = "Builder"

    def __init__(self, library: Library, logger: Any) -> None:
        if library.fault("builder"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._library = library
        self.logger = logger
        self.max_threads = 1
        library.born(self, "builders")

    def create_network(self, flags: int = 0) -> Network | None:
        library = self._library
        known = library.manifest["enums"]["NetworkDefinitionCreationFlag"]
        if library.fault_lines(self.logger, "create_network", ("createNetworkV2: Error Code 4: Internal Error",)):
            return None
        if flags & ~sum(1 << value for value in set(known.values())):
            library.refuse(self.logger, f"createNetworkV2: Error Code 3: API Usage Error (unknown flags {flags:#x})")
            return None
        names = tuple(name for name, value in known.items() if flags >> value & 1)
        return Network(library, self, names)

    def create_builder_config(self) -> BuilderConfig | None:
        if self._library.fault_lines(self.logger, "create_builder_config", ()):
            return None
        return BuilderConfig(self._library, self)

    def create_optimization_profile(self) -> OptimizationProfile | None:
        if self._library.fault_lines(self.logger, "create_optimization_profile", ()):
            return None
        return OptimizationProfile()

    def build_serialized_network(
        self, network: Network, config: BuilderConfig, kernel_text: object = None
    ) -> HostMemory | None:
        library = self._library
        graph = network.graph
        record = Build(
            onnx=graph.data if graph else b"",
            flags=tuple(sorted(config.flag_names())),
            network_flags=network.flag_names,
            profiles=[dict(profile.shapes) for profile in config.profiles],
            workspace=config.workspace,
            settings=config.settings(),
        )
        library.builds.append(record)
        if library.fault_lines(self.logger, "build", _NO_IMPLEMENTATION):
            return None
        problem = _why_not(library, network, config)
        if problem:
            library.refuse(self.logger, problem)
            return None
        if not self._work(graph, config, record):
            return None
        record.built = True
        return HostMemory(library, _plan(library, graph, network, config).write())

    def _work(self, graph: Any, config: BuilderConfig, record: Build) -> bool:
        """The phases of a build: memory for the weights, tactics timed on the device. False: it came to nothing."""
        library = self._library
        size = max(256, graph.weights_bytes)
        try:
            if library.fault("out_of_memory:build"):
                raise DriverRefusal("cuMemAlloc_v2", 2)
            address = library.memory.allocate(size)
        except DriverRefusal:
            for line in _OUT_OF_MEMORY:
                library.refuse(self.logger, line.format(size))
            return False
        try:
            return _Phases(library, config).run(graph, record)
        finally:
            library.memory.free(address)


_NO_IMPLEMENTATION = (
    "Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[/conv/Conv...]}.)",
)


class _Phases:
    """Tells the progress monitor, which may cancel: in the calling thread and, for tactics, in one of TensorRT's."""

    def __init__(self, library: Library, config: BuilderConfig) -> None:
        self._library = library
        self._monitor = config.progress_monitor
        self._cache = config.cache
        self._logger = config.logger
        self._going = True

    def run(self, graph: Graph, record: Build) -> bool:
        self._tell("phase_start", "Building Engine", None, 2)
        self._step("Building Engine", 0)
        if self._going:
            worker = threading.Thread(target=self._time_tactics, args=(graph, record))
            worker.start()
            worker.join()
            self._step("Building Engine", 1)
        self._tell("phase_finish", "Building Engine")
        if not self._going:
            self._library.say(self._logger, "INFO", "Engine build was cancelled.")
        return self._going

    def _time_tactics(self, graph: Graph, record: Build) -> None:
        phase = "Timing Tactics"
        layers = graph.layers
        self._tell("phase_start", phase, "Building Engine", len(layers))
        for number, layer in enumerate(layers):
            time.sleep(self._library.pause_s)
            key = hashlib.sha256(graph.data[:4096] + layer.encode()).hexdigest()[:16]
            if self._cache is not None and key in self._cache.entries:
                record.timing_hits += 1
            else:
                record.timing_misses += 1
            if self._cache is not None:
                self._cache.entries.add(key)
            self._step(phase, number)
            if not self._going:
                break
        self._tell("phase_finish", phase)

    def _step(self, phase: str, number: int) -> None:
        self._going = self._going and self._tell("step_complete", phase, number) is not False

    def _tell(self, method: str, *arguments: Any) -> Any:
        """What Python's monitor raises goes to stderr and cancels, as in the real bindings."""
        if self._monitor is None:
            return None
        try:
            return getattr(self._monitor, method)(*arguments)
        except BaseException as error:  # noqa: BLE001
            self._library.log.append(f"stderr: [ERROR] Exception caught in {method}(): {error!r}")
            self._going = False
            return False


class Network:
    """INetworkDefinition, as far as the ONNX parser fills it."""

    api = "INetworkDefinition"

    def __init__(self, library: Library, builder: Builder, flag_names: tuple[str, ...]) -> None:
        self.library = library
        self.builder = builder
        self.flag_names = flag_names
        self.graph: Graph | None = None
        self.name = "Unnamed Network 0"
        library.born(self, "networks")

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return self.library.number < (9, 0) and "EXPLICIT_BATCH" not in self.flag_names

    @property
    def strongly_typed(self) -> bool:
        return self.library.number >= (11, 0) or "STRONGLY_TYPED" in self.flag_names

    @property
    def num_inputs(self) -> int:
        return len(self.graph.inputs) if self.graph else 0

    @property
    def num_outputs(self) -> int:
        return len(self.graph.outputs) if self.graph else 0

    @property
    def num_layers(self) -> int:
        return len(self.graph.layers) if self.graph else 0

    def get_input(self, index: int) -> Tensor | None:
        return self._port(list(self.graph.inputs.items()) if self.graph else [], index, True)

    def get_output(self, index: int) -> Tensor | None:
        return self._port(list(self.graph.outputs.items()) if self.graph else [], index, False)

    def get_flag(self, flag: Any) -> bool:
        return flag.name in self.flag_names

    def _port(self, ports: list[tuple[str, tuple[int, ...]]], index: int, is_input: bool) -> Tensor | None:
        if not 0 <= index < len(ports):
            self.library.refuse(self.builder.logger, "Error Code 3: API Usage Error (index out of range)")
            return None
        assert self.graph
        name, shape = ports[index]
        kind = self.library.enum(f"DataType.{self.graph.kinds[name]}")
        return Tensor(self.library, name, shape, kind, is_input)


class Tensor:
    """ITensor, to be looked at."""

    api = "ITensor"

    def __init__(self, library: Library, name: str, shape: tuple[int, ...], dtype: Any, is_input: bool) -> None:
        self.name = name
        self.shape = library.dims(shape)
        self.dtype = dtype
        self.is_network_input = is_input
        self.is_network_output = not is_input


class Parser:
    """OnnxParser."""

    api = "OnnxParser"

    def __init__(self, library: Library, network: Network, logger: Any) -> None:
        if library.fault("parser"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._library = library
        self._network = network
        self._logger = logger
        self._errors: list[ParserError] = []
        library.born(self, "parsers")

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def supports_operator(self, op_name: str) -> bool:
        return op_name not in self._library.unsupported_operators

    def parse(self, model: memoryview, path: str | None = None) -> bool:
        self._errors += self._problems(bytes(model))
        for error in self._errors:
            self._library.refuse(self._logger, f"ModelImporter.cpp:{error.line()}: {error.desc()}")
        return not self._errors

    def parse_from_file(self, model: str) -> bool:
        try:
            with open(model, "rb") as file:
                data = file.read()
        except OSError:
            self._errors.append(ParserError("MODEL_DESERIALIZE_FAILED", -1, "", f"Could not open file {model}"))
            return False
        return self.parse(memoryview(data))

    def _problems(self, data: bytes) -> list[ParserError]:
        how = self._library.fault("parse")
        if how is not None:
            given = how.get("errors", ((3, "Conv", "Assertion failed: a failure that a test asked for"),))
            return [ParserError("UNSUPPORTED_NODE", node, operator, text) for node, operator, text in given]
        if self._network.has_implicit_batch_dimension:
            text = (
                "Assertion failed: !mImporterCtx.network()->hasImplicitBatchDimension() && This version of the ONNX "
                "parser only supports TensorRT INetworkDefinitions with an explicit batch dimension."
            )
            return [ParserError("INVALID_VALUE", -1, "", text)]
        try:
            graph = Graph(data)
        except ValueError as error:
            return [ParserError("MODEL_DESERIALIZE_FAILED", -1, "", str(error))]
        found = graph.problems(self._library.unsupported_operators)
        if not found:
            self._network.graph = graph
        return [ParserError("UNSUPPORTED_NODE", *item) for item in found]


class ParserError:
    """ParserError: where and why."""

    api = "ParserError"

    def __init__(self, code: str, node: int, operator: str, text: str) -> None:
        self._code, self._node, self._operator, self._text = code, node, operator, text

    def desc(self) -> str:
        return (
            f"In node {self._node} with name:  and operator: {self._operator} (parseNode): {self._code}: {self._text}"
        )

    def node(self) -> int:
        return self._node

    def node_operator(self) -> str:
        return self._operator

    def node_name(self) -> str:
        return ""

    def file(self) -> str:
        return "ModelImporter.cpp"

    def func(self) -> str:
        return "parseNode"

    def line(self) -> int:
        return 836


class OptimizationProfile:
    """IOptimizationProfile; belongs to its builder."""

    api = "IOptimizationProfile"

    def __init__(self) -> None:
        self.shapes: dict[str, Shapes] = {}
        self.extra_memory_target = 1.0

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
        shapes = tuple(tuple(dims.sizes) for dims in (min, opt, max))
        for which, shape in zip(("min", "opt", "max"), shapes, strict=True):
            if any(size < 0 for size in shape) or len(shape) != len(shapes[0]):
                raise RuntimeError(f"Shape provided for {which} is inconsistent with other shapes.")
        self.shapes[input] = shapes  # type: ignore[assignment]

    def get_shape(self, input: str) -> list[Any]:  # noqa: A002
        raise NotImplementedError("IOptimizationProfile.get_shape is not simulated by this double")

    def valid(self) -> bool:
        rows = [zip(*shapes, strict=True) for shapes in self.shapes.values()]
        return bool(rows) and all(low <= best <= high for row in rows for low, best, high in row)


class TimingCache:
    """ITimingCache: the layers that were timed before, on this device and version."""

    api = "ITimingCache"

    def __init__(self, library: Library, stamp: list[Any], entries: set[str]) -> None:
        self._library = library
        self.stamp = stamp
        self.entries = entries
        library.born(self, "timing_caches")

    def serialize(self) -> HostMemory | None:
        if self._library.fault("serialize_timing_cache"):
            return None
        body = json.dumps([self.stamp, sorted(self.entries)]).encode()
        return HostMemory(self._library, hashlib.sha256(body).digest() + body)

    def combine(self, input_cache: TimingCache, ignore_mismatch: bool) -> bool:
        if self._library.fault("combine_timing_cache") or (input_cache.stamp != self.stamp and not ignore_mismatch):
            return False
        self.entries |= input_cache.entries
        return True

    def reset(self) -> bool:
        self.entries.clear()
        return True


class BuilderConfig:
    """IBuilderConfig."""

    api = "IBuilderConfig"

    def __init__(self, library: Library, builder: Builder) -> None:
        self._library = library
        self._builder = builder
        self._pools: dict[str, int] = {}
        self._flags = 1 << int(library.enum("BuilderFlag.TF32"))
        self._previews: set[str] = set()
        self.profiles: list[OptimizationProfile] = []
        self.cache: TimingCache | None = None
        self.progress_monitor: Any = None
        self.builder_optimization_level = 3
        self.avg_timing_iterations = 1
        self.max_aux_streams = -1
        self.hardware_compatibility_level = library.enum("HardwareCompatibilityLevel.NONE")
        self.profiling_verbosity = library.enum("ProfilingVerbosity.LAYER_NAMES_ONLY")
        self.default_device_type = library.enum("DeviceType.GPU")
        self.logger = builder.logger
        library.born(self, "configs")

    @property
    def flags(self) -> int:
        return self._flags

    @flags.setter
    def flags(self, value: int) -> None:
        self._flags = int(value)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    @property
    def workspace(self) -> int:
        return self._pools.get("WORKSPACE", -1)

    def set_flag(self, flag: Any) -> None:
        self._flags |= 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        self._flags &= ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        return bool(self._flags >> int(flag) & 1)

    def flag_names(self) -> set[str]:
        known = self._library.manifest["enums"]["BuilderFlag"]
        return {name for name, value in known.items() if self._flags >> value & 1}

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        (self._previews.add if enable else self._previews.discard)(feature.name)

    def get_preview_feature(self, feature: Any) -> bool:
        return feature.name in self._previews

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self._pools[pool.name] = pool_size

    def get_memory_pool_limit(self, pool: Any) -> int:
        if pool.name not in self._pools and pool.name == "WORKSPACE":
            return int(self._library.memory.facts()[2])
        return self._pools.get(pool.name, 0)

    def settings(self) -> dict[str, Any]:
        return {
            "builder_optimization_level": self.builder_optimization_level,
            "hardware_compatibility_level": self.hardware_compatibility_level.name,
            "profiling_verbosity": self.profiling_verbosity.name,
            "previews": sorted(self._previews),
            "max_aux_streams": self.max_aux_streams,
        }

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        if self._library.fault("add_optimization_profile") or not profile.valid():
            self._library.refuse(self._builder.logger, "addOptimizationProfile: Error Code 3: profile is not valid")
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: memoryview) -> TimingCache | None:
        data = bytes(serialized_timing_cache)
        stamp = self._stamp()
        damaged = bool(self._library.fault("create_timing_cache"))
        if not data and not damaged:
            return TimingCache(self._library, stamp, set())
        if damaged or hashlib.sha256(data[32:]).digest() != data[:32]:
            self._library.refuse(self._builder.logger, "createTimingCache: Error Code 1: Serialization (damaged blob)")
            return None
        made, entries = json.loads(data[32:])
        return TimingCache(self._library, made, set(entries))

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if self._library.fault("set_timing_cache"):
            return False
        if cache.stamp != self._stamp() and not ignore_mismatch:
            self._library.say(self._builder.logger, "WARNING", "setTimingCache: of another device or version")
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.cache

    def _stamp(self) -> list[Any]:
        name, capability, _ = self._library.memory.facts()
        return [self._library.full_version, name, list(capability)]


def _why_not(library: Library, network: Network, config: BuilderConfig) -> str | None:
    """Why a network does not build, in the library's manner; None when it does."""
    graph, flags = network.graph, config.flag_names()
    if not library.memory.has_context():
        library.errors.append("a build without a current CUDA context: TensorRT would take device 0")
    if graph is None:
        return "buildSerializedNetwork: Error Code 4: API Usage Error (Network must have at least one output)"
    if network.strongly_typed:
        wrong = [name for name in _PRECISION_FLAGS if name in flags]
        if wrong:
            return f"Error Code 3: API Usage Error (precision flags {wrong} are not for strongly typed networks)"
    else:
        if graph.half and "FP16" not in flags:
            return "Error Code 4: API Usage Error (a tensor has type Half, but BuilderFlag::kFP16 is not set)"
        if graph.quantised and "INT8" not in flags:
            return "Error Code 4: API Usage Error (Q/DQ layers need BuilderFlag::kINT8)"
    return _profile_problem(graph, config.profiles)


def _profile_problem(graph: Graph, profiles: list[OptimizationProfile]) -> str | None:
    dynamic = {name: shape for name, shape in graph.inputs.items() if -1 in shape}
    if dynamic and not profiles:
        return "Error Code 4: Network has dynamic or shape inputs, but no optimization profile has been defined."
    for profile in profiles:
        for name, shape in dynamic.items():
            if name not in profile.shapes:
                return f"Error Code 4: Dynamic dimension of input {name} has no dimensions in profile 0."
            for given in profile.shapes[name]:
                if len(given) != len(shape) or any(a not in (-1, b) for a, b in zip(shape, given, strict=True)):
                    return f"Error Code 4: profile dimensions {list(given)} of {name} do not fit {list(shape)}."
        unknown = set(profile.shapes) - set(graph.inputs)
        if unknown:
            return f"Error Code 4: profile speaks of {sorted(unknown)}, which is no input of the network."
    return None


def _plan(library: Library, graph: Graph, network: Network, config: BuilderConfig) -> Plan:
    name, capability, _ = library.memory.facts()
    flags = config.flag_names()
    return Plan(
        version=library.full_version,
        compute_capability=capability,
        device=name,
        any_device=config.hardware_compatibility_level.name != "NONE",
        rounded="FP16" in flags or ("TF32" in flags and capability >= _AMPERE),
        shared_profiles=library.number >= (9, 0) or "PROFILE_SHARING_0806" in config.settings()["previews"],
        profiles=[dict(profile.shapes) for profile in config.profiles],
        onnx=graph.data,
    )
