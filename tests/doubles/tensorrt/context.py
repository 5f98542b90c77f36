"""Simulated: an execution context. Its work goes onto streams of the CUDA double, and computes when that runs it."""

from __future__ import annotations

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
from doubles.tensorrt.memory import Block
from doubles.tensorrt.values import Dims

_USAGE = "IExecutionContext::{0}: Error Code 3: API Usage Error (Parameter check failed, condition: {1})"


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

    def __init__(self, engine: Any, block: Block | None) -> None:
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
        self._setting: set[int] = set()
        self._disturbed: set[int] = set()
        self._shapes = {name: shape for name, shape in engine.graph.inputs.items() if -1 not in shape}
        self._addresses: dict[str, int] = {}
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
            self._touched(begins=True)
            return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        with self._alone():
            if self._fails("set_tensor_address"):
                return False
            if name not in self.engine.ports():
                self._refuse("setTensorAddress", f"{name} is a tensor of the engine")
                return False
            self._addresses[name] = memory
            self._touched()
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
            self._library.pending[call.scratch, stream] += 1
            self._settled = call.shapes
        return True

    def _why_not(self, stream: int) -> str | None:
        busy = [key for key, count in self._library.pending.items() if count and key[0] == self._scratch]
        if any(handle != stream and self._library.memory.exists(handle) for _, handle in busy):
            self._library.errors.append("memory of a context was given to a second stream while the first had not run")
        self._setting.discard(threading.get_ident())
        if threading.get_ident() in self._disturbed:
            self._library.errors.append("a context was enqueued by a thread after another had changed what it had set")
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

    def _touched(self, *, begins: bool = False) -> None:
        """Note who sets shapes and addresses: another thread between a thread's shape and its enqueue is a race."""
        self.changes += 1
        thread = threading.get_ident()
        if begins:
            self._setting.add(thread)
            self._disturbed.discard(thread)
        self._disturbed |= self._setting - {thread}

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
    library = context.engine.library
    graph, rounded = context.engine.graph, context.engine.plan.rounded
    alive = weakref.ref(context)
    scratch_bytes = context.engine.scratch_bytes

    def run() -> None:
        if stream is not None:
            library.pending[call.scratch, stream] -= 1
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
