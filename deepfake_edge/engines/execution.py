"""One execution context of an engine, and the graph of its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deepfake_edge.cuda.device import Device, DeviceMemory, Graph, Stream
from deepfake_edge.engines.loading import LoadedEngine


class Execution:
    """An execution context over buffers that never move. Every method is called inside `device.current()`.

    Once a graph is captured the context must not change: TensorRT leaves undefined what the graph does then.
    """

    def __init__(
        self, engine: LoadedEngine, addresses: Mapping[str, int], scratch: DeviceMemory, stream: Stream
    ) -> None:
        """Make a context.

        Args:
            engine: closed after this.
            addresses: where each input and output lies on the device.
            scratch: `engine.scratch_bytes` or more; of executions that share it one at a time may run.
            stream: for what TensorRT copies to make it ready.
        Raises:
            OutOfDeviceMemory: the GPU has too little left.
            InferenceError: TensorRT refuses.
        """
        self._engine = engine
        self._graph: Graph | None = None
        self._context: Any = engine.make_context()
        try:
            self._take_profile(stream)
            engine.give_scratch(self._context, scratch.address, scratch.size_bytes)
            for name, address in addresses.items():
                if not self._context.set_tensor_address(name, address):
                    raise engine.failure(f"set_tensor_address refused {name}")
        except BaseException:
            self.close()
            raise

    def resize(self, rows: int) -> None:
        """Set how many rows the next executions compute. Raises InferenceError: TensorRT refuses."""
        for port in self._engine.inputs:
            shape = (rows, *port.shape[1:])
            if not self._context.set_input_shape(port.name, shape):
                raise self._engine.failure(f"set_input_shape refused {port.name} {shape}")
        try:
            missing = self._context.infer_shapes()
        except RuntimeError as error:
            raise self._engine.failure(f"infer_shapes failed ({error})") from error
        if missing:
            raise self._engine.failure(f"infer_shapes wanted more of {', '.join(missing)}")
        for port in self._engine.outputs:
            wanted, found = (rows, *port.shape[1:]), tuple(self._context.get_tensor_shape(port.name))
            if found != wanted:
                raise self._engine.failure(f"{port.name}: wanted {wanted}, it would give {found}")

    def enqueue(self, stream: Stream) -> None:
        """Execute on a stream, without waiting. Raises InferenceError: TensorRT refuses."""
        if not self._context.execute_async_v3(stream.handle):
            raise self._engine.failure("execute_async_v3 failed")

    def capture(self, device: Device, stream: Stream) -> bool:
        """Make a graph of what has been enqueued once and is done; false where the driver makes none."""
        self._graph = device.capture(stream, lambda: self.enqueue(stream))
        return self._graph is not None

    def replay(self, stream: Stream) -> None:
        """Launch the graph on a stream, without waiting."""
        assert self._graph is not None
        self._graph.launch(stream)

    def close(self) -> None:
        """Free the graph and the context; may be called twice."""
        if self._graph is not None:
            self._graph.free()
        self._graph = None
        self._context = None

    def _take_profile(self, stream: Stream) -> None:
        """TensorRT 8 gives it to the first context alone; to others only where the engine was built to share it."""
        if self._context.active_optimization_profile >= 0:
            return
        try:
            taken = self._context.set_optimization_profile_async(0, stream.handle)
        except RuntimeError as error:
            raise self._engine.failure(f"set_optimization_profile_async failed ({error})") from error
        if not taken:
            raise self._engine.failure("set_optimization_profile_async failed")
