"""A plan that is loaded: what it takes and gives, and what it computes on."""

from __future__ import annotations

from typing import Any

from deepfake_edge.cuda.device import Device
from deepfake_edge.engines import library
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.errors import EngineMismatch, InferenceError, OutOfDeviceMemory
from deepfake_edge.protocols import TensorSpec

_LINES_SAID = 3


class LoadedEngine:
    """A deserialised engine. Every method but `close` is called inside `device.current()`.

    Attributes:
        name: what to call it in messages.
        device: where it runs.
        inputs: in the engine's order, all float32; axis 0 is None, the batch.
        outputs: likewise.
        batch: how many rows at once.
        scratch_bytes: what one execution needs for all that lies between inputs and outputs.
        graphs: whether its work is still to be captured as CUDA graphs; false once that failed.
    """

    def __init__(self, plan: bytes, device: Device, *, name: str, graphs: bool = True) -> None:
        """Deserialise a plan, whose sha256 has been checked: a plan is a program.

        Raises:
            MissingDependency: there is no TensorRT.
            EngineMismatch: TensorRT refuses the plan, or it takes or gives something else than float32 rows.
            OutOfDeviceMemory: the GPU has too little left.
        """
        self.name = name
        self.device = device
        self.graphs = graphs
        self._trt = library.tensorrt()
        self._log = library.log()
        self._log.forget()
        self._runtime: Any = None
        self._engine: Any = None
        try:
            self._runtime = self._make_runtime()
            self._engine = self._runtime.deserialize_cuda_engine(plan)
            if self._engine is None:
                raise self._refusal()
            self.inputs, self.outputs = self._ports()
            self.batch = self._profile()
            self.scratch_bytes = int(
                self._engine.device_memory_size_v2 if self._sized() else self._engine.device_memory_size
            )
        except BaseException:
            self.close()
            raise

    def make_context(self) -> Any:
        """An execution context without memory of its own; see `give_scratch`. The caller drops it before `close`.

        Raises:
            InferenceError: TensorRT makes none; OutOfDeviceMemory where that is why.
        """
        # TensorRT 11 knows the first way alone, 8 the second.
        if self._sized():
            strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(strategy)
        else:
            context = self._engine.create_execution_context_without_device_memory()
        if context is None:
            raise self.failure("create_execution_context gave none")
        return context

    def give_scratch(self, context: Any, address: int, size_bytes: int) -> None:
        """Let a context compute in this memory; of contexts that share it one at a time may run."""
        if self._sized():
            context.set_device_memory(address, size_bytes)
        else:
            context.device_memory = address

    def failure(self, what: str) -> InferenceError:
        """The error for what TensorRT refused, with the last lines that it logged since the one before.

        Raises:
            DeviceLost: the GPU itself is what failed.
        """
        said = "; ".join(self._log.errors[-_LINES_SAID:])
        kind = OutOfDeviceMemory if self._log.says_out_of_memory else InferenceError
        self._log.forget()
        self.device.memory_info()
        return kind(f"{self.name}: TensorRT: {what}" + (f": {said}" if said else ""))

    def close(self) -> None:
        """Free the engine; may be called twice."""
        self._engine = None
        self._runtime = None

    def _sized(self) -> bool:
        return hasattr(self._engine, "device_memory_size_v2")

    def _make_runtime(self) -> Any:
        try:
            return self._trt.Runtime(self._log)
        except TypeError as error:
            raise self.failure(f"Runtime failed ({error})") from error

    def _refusal(self) -> InferenceError | EngineMismatch:
        failure = self.failure("the engine cannot be loaded")
        if isinstance(failure, OutOfDeviceMemory):
            return failure
        return EngineMismatch(f"{failure}. It was built by another TensorRT or for another GPU: deepfake-edge build")

    def _ports(self) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        modes = [self._engine.get_tensor_mode(name) for name in names]
        given = self._trt.TensorIOMode.INPUT
        inputs = tuple(self._port(name) for name, mode in zip(names, modes, strict=True) if mode == given)
        outputs = tuple(self._port(name) for name, mode in zip(names, modes, strict=True) if mode != given)
        if not inputs or not outputs:
            raise EngineMismatch(f"{self.name}: wanted inputs and outputs, the engine has only {', '.join(names)}")
        return inputs, outputs

    def _port(self, name: str) -> TensorSpec:
        kind = self._engine.get_tensor_dtype(name)
        _, *row = self._engine.get_tensor_shape(name)
        if kind != self._trt.DataType.FLOAT or any(axis < 1 for axis in row):
            raise EngineMismatch(
                f"{self.name}: {name}: wanted rows of float32, the engine has {kind} rows of {tuple(row)}"
            )
        return TensorSpec(name, (None, *map(int, row)), "float32")

    def _profile(self) -> BatchProfile:
        found = {
            tuple(int(shape[0]) for shape in self._engine.get_tensor_profile_shape(port.name, 0))
            for port in self.inputs
        }
        if len(found) != 1:
            raise EngineMismatch(f"{self.name}: wanted one profile for all inputs, the engine has {sorted(found)}")
        least, best, most = found.pop()
        return BatchProfile(least, best, most)
