"""Simulated: what loads a plan."""

from __future__ import annotations

import json
import math
from typing import Any

from doubles.tensorrt.context import ExecutionContext
from doubles.tensorrt.driver import DriverRefusal
from doubles.tensorrt.graph import Graph
from doubles.tensorrt.library import Library
from doubles.tensorrt.memory import Block
from doubles.tensorrt.plans import Plan, read_plan
from doubles.tensorrt.values import Dims, HostMemory

_OUT_OF_MEMORY = (
    "[defaultAllocator.cpp::allocate::55] Error Code 1: Cuda Runtime (out of memory)",
    "Requested amount of GPU memory ({0} bytes) could not be allocated. There may not be enough free memory for "
    "allocation to succeed.",
    "Error Code 2: OutOfMemory (no further information)",
)


class Runtime:
    """Runtime."""

    api = "Runtime"

    def __init__(self, library: Library, logger: Any) -> None:
        if library.fault("runtime"):
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._library = library
        self.logger = logger
        self.max_threads = 1
        self.engine_host_code_allowed = False
        library.born(self, "runtimes")

    def deserialize_cuda_engine(self, serialized_engine: memoryview) -> Engine | None:
        library = self._library
        lines = ("IRuntime::deserializeCudaEngine: Error Code 1: Internal Error (a failure that a test asked for)",)
        if library.fault_lines(self.logger, "deserialize", lines):
            return None
        if not library.memory.has_context():
            library.errors.append("an engine loaded without a current CUDA context: TensorRT would take device 0")
        try:
            plan = read_plan(bytes(serialized_engine))
        except ValueError as error:
            library.refuse(self.logger, f"IRuntime::deserializeCudaEngine: Error Code 1: Serialization ({error})")
            return None
        problem = self._mismatch(plan)
        if problem:
            library.refuse(self.logger, f"IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error ({problem})")
            return None
        graph = Graph(plan.onnx)
        size = max(256, graph.weights_bytes)
        try:
            if library.fault("out_of_memory:deserialize"):
                raise DriverRefusal("cuMemAlloc_v2", 2)
            return Engine(library, self, plan, graph, Block(library, size, "an engine"))
        except DriverRefusal:
            for line in _OUT_OF_MEMORY:
                library.refuse(self.logger, line.format(size))
            return None

    def _mismatch(self, plan: Plan) -> str | None:
        if plan.version != self._library.full_version:
            return (
                "The engine plan file is not compatible with this version of TensorRT, expecting library version "
                f"{self._library.full_version} got {plan.version}, please rebuild."
            )
        _, capability, _ = self._library.memory.facts()
        if plan.compute_capability != capability and not plan.any_device:
            wanted, found = (".".join(map(str, pair)) for pair in (capability, plan.compute_capability))
            return (
                f"The engine plan file is generated on an incompatible device, expecting compute {wanted} got compute "
                f"{found}, please rebuild."
            )
        return None


class Engine:
    """ICudaEngine."""

    api = "ICudaEngine"

    def __init__(self, library: Library, runtime: Runtime, plan: Plan, graph: Graph, block: Block) -> None:
        self.library = library
        self.runtime = runtime
        self.plan = plan
        self.graph = graph
        self.name = "Unnamed Network 0"
        self.taken_profiles: list[int] = []
        self._block = block
        library.born(self, "engines")

    @property
    def num_io_tensors(self) -> int:
        return len(self._names())

    @property
    def num_optimization_profiles(self) -> int:
        return max(1, len(self.plan.profiles))

    @property
    def num_layers(self) -> int:
        return len(self.graph.layers)

    @property
    def device_memory_size(self) -> int:
        return self.scratch_bytes

    @property
    def device_memory_size_v2(self) -> int:
        return self.scratch_bytes

    @property
    def has_implicit_batch_dimension(self) -> bool:
        return False

    def get_tensor_name(self, index: int) -> str | None:
        names = self._names()
        if 0 <= index < len(names):
            return names[index]
        self._refuse("getIOTensorName", "index out of range")
        return None

    def get_tensor_mode(self, name: str) -> Any:
        mode = "INPUT" if name in self.graph.inputs else "OUTPUT" if name in self.graph.outputs else "NONE"
        return self.library.enum(f"TensorIOMode.{mode}")

    def get_tensor_dtype(self, name: str) -> Any:
        return self.library.enum(f"DataType.{self.graph.kinds[name]}" if self._known(name) else "DataType.FLOAT")

    def get_tensor_shape(self, name: str) -> Dims:
        return self.library.dims(self.ports().get(name, ()) if self._known(name) else ())

    def get_tensor_location(self, name: str) -> Any:
        self._known(name)
        return self.library.enum("TensorLocation.DEVICE")

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        if not 0 <= profile_index < self.num_optimization_profiles or name not in self.graph.inputs:
            self._refuse("getProfileShape", f"no profile {profile_index} of input {name}")
            return [self.library.dims(()) for _ in range(3)]
        return [self.library.dims(shape) for shape in self.profile(name, profile_index)]

    def is_shape_inference_io(self, name: str) -> bool:
        self._known(name)
        return False

    def create_execution_context(self, strategy: Any = None, runtime_config: Any = None) -> ExecutionContext | None:
        known = ("STATIC", "USER_MANAGED")
        if runtime_config is not None or (strategy is not None and strategy.name not in known):
            raise NotImplementedError("create_execution_context with other memory than STATIC or USER_MANAGED")
        return self._create_context(own_memory=strategy is None or strategy.name == "STATIC")

    def create_execution_context_without_device_memory(self) -> ExecutionContext | None:
        return self._create_context(own_memory=False)

    def _create_context(self, own_memory: bool) -> ExecutionContext | None:
        library, logger = self.library, self.runtime.logger
        lines = ("ICudaEngine::createExecutionContext: Error Code 1: Internal Error (a failure that a test asked for)",)
        if library.fault_lines(logger, "create_execution_context", lines):
            return None
        if not library.memory.has_context():
            library.errors.append("an execution context made without a current CUDA context")
        size = self.scratch_bytes
        try:
            if library.fault("out_of_memory:create_execution_context") or library.fault("out_of_memory"):
                raise DriverRefusal("cuMemAlloc_v2", 2)
            return ExecutionContext(self, Block(library, size, "an execution context") if own_memory else None)
        except DriverRefusal:
            for line in _OUT_OF_MEMORY:
                library.refuse(logger, line.format(size))
            return None

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector(self)

    def serialize(self) -> HostMemory:
        return HostMemory(self.library, self.plan.write())

    def ports(self) -> dict[str, tuple[int, ...]]:
        return {**self.graph.inputs, **self.graph.outputs}

    def profile(self, name: str, index: int) -> Any:
        """min, opt and max of an input; its own shape where it is not dynamic."""
        fixed = (self.graph.inputs[name],) * 3
        return self.plan.profiles[index].get(name, fixed) if self.plan.profiles else fixed

    def _names(self) -> list[str]:
        return [*self.graph.inputs, *self.graph.outputs]

    def _known(self, name: str) -> bool:
        if name not in self.ports():
            self._refuse("getTensor", f"{name} is no tensor of this engine")
            return False
        return True

    def _refuse(self, function: str, text: str) -> None:
        self.library.refuse(self.runtime.logger, f"ICudaEngine::{function}: Error Code 3: API Usage Error ({text})")

    @property
    def scratch_bytes(self) -> int:
        """What one execution needs."""
        """Bytes that a context takes: some four times what goes in at the most."""
        sizes = [math.prod(self.profile(name, 0)[2]) for name in self.graph.inputs]
        return 1024 + 16 * sum(sizes)


class EngineInspector:
    """EngineInspector."""

    api = "EngineInspector"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def get_engine_information(self, format: Any) -> str:  # noqa: A002
        layers = self._engine.graph.layers
        return json.dumps({"Layers": layers}) if format.name == "JSON" else "\n".join(layers)
