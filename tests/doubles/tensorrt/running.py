"""Simulated: what runs a plan. Its work goes onto streams of the CUDA double, and computes when that runs it."""

from __future__ import annotations

import json
import math
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from doubles.cuda import CudaDoubleError
from doubles.tensorrt.driver import DriverRefusal
from doubles.tensorrt.graph import Graph
from doubles.tensorrt.library import Library
from doubles.tensorrt.plans import Plan, read_plan
from doubles.tensorrt.values import Dims, HostMemory

_OUT_OF_MEMORY = (
    "[defaultAllocator.cpp::allocate::55] Error Code 1: Cuda Runtime (out of memory)",
    "Requested amount of GPU memory ({0} bytes) could not be allocated. There may not be enough free memory for "
    "allocation to succeed.",
    "Error Code 2: OutOfMemory (no further information)",
)
_USAGE = "IExecutionContext::{0}: Error Code 3: API Usage Error (Parameter check failed, condition: {1})"


class Block:
    """Device memory of an engine or a context, given back when its owner is."""

    def __init__(self, library: Library, size_bytes: int, owner: str) -> None:
        """Raises DriverRefusal."""
        self.address = library.memory.allocate(size_bytes)
        self.alive = True
        self._finalizer = weakref.finalize(self, _free, library, self.address, owner)
        self._finalizer.atexit = False


def _free(library: Library, address: int, owner: str) -> None:
    try:
        library.memory.free(address)
    except DriverRefusal as error:
        if not library.cuda.sticky:
            library.errors.append(f"{owner}: its memory was freed after its CUDA context was gone ({error})")


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


@dataclass(frozen=True)
class _Call:
    """What an enqueue has fixed: shapes, addresses, scratch memory, and how often its context had changed by then."""

    shapes: dict[str, tuple[int, ...]]
    addresses: dict[str, int]
    scratch: int
    changes: int


class ExecutionContext:
    """IExecutionContext. One thread and one stream at a time: anything else goes to the library's errors."""

    api = "IExecutionContext"

    def __init__(self, engine: Engine, block: Block | None) -> None:
        """Without a block the caller gives the memory."""
        self.engine = engine
        self.name = ""
        self.changes = 0
        self.debug_sync = False
        self.enqueue_emits_profile = True
        self._library = engine.library
        self._block = block
        self._scratch = block.address if block else 0
        self._entered = threading.Lock()
        self._shaped_by: int | None = None
        self._shapes = {name: shape for name, shape in engine.graph.inputs.items() if -1 not in shape}
        self._addresses: dict[str, int] = {}
        self._pending: dict[int, int] = {}
        self._settled: dict[str, tuple[int, ...]] | None = None
        self.active_optimization_profile = -1
        if engine.library.number >= (9, 0) or 0 not in engine.taken_profiles:
            self._take_profile(0)
        engine.library.born(self, "contexts")

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        with self._alone():
            shared = self.engine.plan.shared_profiles or profile_index not in self.engine.taken_profiles
            own = profile_index == self.active_optimization_profile
            if self._library.fault("set_optimization_profile_async") or not (own or shared):
                text = f"Profile {profile_index} has been chosen by another IExecutionContext."
                self._refuse("setOptimizationProfileAsync", text)
                raise RuntimeError("Error in set optimization profile async.")
            if not 0 <= profile_index < self.engine.num_optimization_profiles:
                self._refuse("setOptimizationProfileAsync", "profileIndex is out of range")
                raise RuntimeError("Error in set optimization profile async.")
            if not own:
                self._take_profile(profile_index)
            return True

    def set_input_shape(self, name: str, shape: Any) -> bool:
        sizes = tuple(shape.sizes if isinstance(shape, Dims) else (int(size) for size in shape))
        with self._alone():
            if self._fails("set_input_shape"):
                return False
            if name not in self.engine.graph.inputs:
                self._refuse("setInputShape", f"{name} is an input tensor")
                return False
            if self.active_optimization_profile < 0:
                self._refuse("setInputShape", "no optimization profile has been chosen for this context")
                return False
            low, _, high = self.engine.profile(name, self.active_optimization_profile)
            if len(sizes) != len(low) or any(not a <= b <= c for a, b, c in zip(low, sizes, high, strict=True)):
                text = (
                    f"satisfyProfile. Set dimension {_brackets(sizes)} for tensor {name} does not satisfy any "
                    f"optimization profiles. Valid range for profile 0: {_brackets(low)}..{_brackets(high)}."
                )
                self._refuse("setInputShape", text)
                return False
            self._shapes[name] = sizes
            self.changes += 1
            self._shaped_by = threading.get_ident()
            return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        with self._alone():
            if self._fails("set_tensor_address"):
                return False
            if name not in self.engine.ports():
                self._refuse("setTensorAddress", f"{name} is a tensor of the engine")
                return False
            self._addresses[name] = memory
            self.changes += 1
            return True

    def set_device_memory(self, memory: int, size: int) -> None:
        if size < self.engine.scratch_bytes:
            self._refuse("setDeviceMemoryV2", f"size >= {self.engine.scratch_bytes}")
            return
        self.device_memory = memory

    @property
    def device_memory(self) -> int:
        return self._scratch

    @device_memory.setter
    def device_memory(self, memory: int) -> None:
        if self._block is not None:
            self._refuse("setDeviceMemory", "the context was made without device memory")
            return
        self._scratch = memory
        self.changes += 1

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def get_tensor_shape(self, name: str) -> Dims:
        with self._alone():
            if name in self.engine.graph.inputs:
                return self._library.dims(self._shapes.get(name, self.engine.graph.inputs[name]))
            if name not in self.engine.graph.outputs:
                self._refuse("getTensorShape", f"{name} is a tensor of the engine")
                return self._library.dims(())
            if self._missing():
                return self._library.dims(self.engine.graph.outputs[name])
            return self._library.dims(self.engine.graph.output_shapes(self._shapes)[name])

    def infer_shapes(self) -> list[str]:
        with self._alone():
            how = self._library.fault("infer_shapes")
            if how is not None and how.get("raises"):
                raise RuntimeError("infer_shapes error code: -1")
            return list(self.engine.graph.inputs) if how is not None else self._missing()

    def execute_async_v3(self, stream_handle: int) -> bool:
        with self._alone():
            if self._fails("execute_async_v3"):
                return False
            problem = self._why_not(stream_handle)
            if problem:
                self._refuse("enqueueV3", problem)
                return False
            return self._enqueue(stream_handle)

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self._missing()

    def _enqueue(self, stream: int) -> bool:
        """Fix what is set now and put the work on the stream; it computes when the stream runs it."""
        call = _Call(dict(self._shapes), dict(self._addresses), self._scratch, self.changes)
        try:
            capturing = self._library.memory.capturing(stream)
            if self.engine.graph.loops or (capturing and self._settled != call.shapes):
                # Loops ask the host, and the first run at a shape makes ready: neither can be captured.
                self._library.memory.synchronise(stream)
            self._library.cuda.enqueue(stream, _work(self, call, None if capturing else stream))
        except (DriverRefusal, CudaDoubleError) as error:
            self._library.refuse(self._logger, f"IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime ({error})")
            return False
        if not capturing:
            self._pending[stream] = self._pending.get(stream, 0) + 1
            self._settled = call.shapes
        return True

    def _why_not(self, stream: int) -> str | None:
        others = [handle for handle, count in self._pending.items() if count and handle != stream]
        if any(self._library.memory.exists(handle) for handle in others):
            self._library.errors.append("a context was enqueued on a second stream while the first had not run")
        if self._shaped_by not in (None, threading.get_ident()):
            self._library.errors.append("a context was enqueued by one thread with the shape that another had set")
        self._shaped_by = None
        if stream == 0:
            self._library.errors.append("a context was enqueued on the default stream")
            return "the default stream"
        if self.active_optimization_profile < 0:
            return "no optimization profile has been chosen for this context"
        if not self._scratch:
            return "device memory has not been set"
        if self._missing():
            return f"the shape of {self._missing()[0]} is not specified"
        for name in self.engine.ports():
            if not self._addresses.get(name):
                return f"Address is not set for tensor {name}. Call setTensorAddress before enqueueV3."
        return None

    def _missing(self) -> list[str]:
        return [name for name in self.engine.graph.inputs if name not in self._shapes]

    def _take_profile(self, index: int) -> None:
        self.active_optimization_profile = index
        self.engine.taken_profiles.append(index)
        self._shapes = {name: shape for name, shape in self.engine.graph.inputs.items() if -1 not in shape}
        weakref.finalize(self, self.engine.taken_profiles.remove, index).atexit = False

    @property
    def _logger(self) -> Any:
        return self.engine.runtime.logger

    def _fails(self, point: str) -> bool:
        lines = (f"IExecutionContext::{point}: Error Code 1: Internal Error (a failure that a test asked for)",)
        return self._library.fault_lines(self._logger, point, lines)

    def _refuse(self, function: str, text: str) -> None:
        self._library.refuse(self._logger, _USAGE.format(function, text))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._entered.acquire(blocking=False):
            self._library.errors.append("two threads were in one execution context at once")
            self._entered.acquire()
        try:
            yield
        finally:
            self._entered.release()


def _work(context: ExecutionContext, call: _Call, stream: int | None) -> Any:
    """The work of one enqueue: a stream or graph that holds it keeps neither engine nor context alive."""
    library, pending = context.engine.library, context._pending
    graph, rounded = context.engine.graph, context.engine.plan.rounded
    alive = weakref.ref(context)
    scratch_bytes = context.engine.scratch_bytes

    def run() -> None:
        if stream is not None:
            pending[stream] -= 1
        owner = alive()
        if owner is None:
            library.errors.append("work of an execution context ran after the context was freed")
        elif stream is None and owner.changes != call.changes:
            library.errors.append("a graph ran after the execution context that it was captured from had changed")
        # Whatever lies there is lost, an input too.
        library.cuda.write(call.scratch, b"\xff" * scratch_bytes)
        feeds = {}
        for name, shape in call.shapes.items():
            dtype = graph.dtype(name)
            data = library.cuda.read(call.addresses[name], math.prod(shape) * dtype.itemsize)
            feeds[name] = np.frombuffer(data, dtype).reshape(shape)
        values = graph.run(feeds, rounded=rounded)
        wrong = library.fault("wrong_numbers")
        for name, value in values.items():
            value = wrong["change"](name, value) if wrong else value
            library.cuda.write(call.addresses[name], np.ascontiguousarray(value, graph.dtype(name)).tobytes())

    return run


def _brackets(sizes: Any) -> str:
    return "[" + ",".join(str(size) for size in sizes) + "]"
