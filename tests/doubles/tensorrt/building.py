"""Simulated: what turns ONNX into a plan."""

from __future__ import annotations

import hashlib
import threading
import time
from typing import Any

from doubles.tensorrt.config import BuilderConfig
from doubles.tensorrt.driver import DriverRefusal
from doubles.tensorrt.graph import Graph
from doubles.tensorrt.library import Build, Library
from doubles.tensorrt.network import Network, OptimizationProfile
from doubles.tensorrt.plans import Plan
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
        return BuilderConfig(self._library, self.logger)

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
