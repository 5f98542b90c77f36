"""A lane: a stream, buffers that never move, and what executes between them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeAlias

import numpy as np

from deepfake_edge.cuda.device import Device, Stream
from deepfake_edge.data import Floats
from deepfake_edge.engines.execution import Execution
from deepfake_edge.engines.loading import LoadedEngine
from deepfake_edge.errors import DeviceLost, InferenceError
from deepfake_edge.protocols import TensorSpec

Fill: TypeAlias = Callable[[int, Stream], None]
"""(address, stream) -> None: puts rows at a device address, on a stream, without waiting."""

# Each keeps an execution context, whose own memory depends on the engine.
_MOST_GRAPHS = 8
_log = logging.getLogger(__name__)


class Lane:
    """What one thread at a time computes a batch with; everything is allocated for the largest.

    Copied: rows go into pinned host memory and from there to the device, results back the same way.
    Mapped: the device itself reads and writes that host memory; for GPUs that share their memory with the CPU.

    A batch size that comes for the first time gets an execution context of its own, whose work is captured as a CUDA
    graph and replayed from then on. All contexts of a lane share its scratch memory: they run one after the other.
    """

    def __init__(self, engine: LoadedEngine, *, mapped: bool = False) -> None:
        """Allocate everything.

        Raises:
            OutOfDeviceMemory: the GPU has too little left; nothing is kept.
            InferenceError: TensorRT refuses.
        """
        self._engine, self._device = engine, engine.device
        self._fixed: dict[int, Execution] = {}
        with self._device.current(), ExitStack() as owned:
            self._stream = self._device.stream()
            owned.callback(self._stream.free)
            most = engine.batch.most
            self._inputs = [_Buffer(port, most, self._device, mapped, owned) for port in engine.inputs]
            self._outputs = [_Buffer(port, most, self._device, mapped, owned) for port in engine.outputs]
            self._scratch = self._device.allocate(max(1, engine.scratch_bytes))
            owned.callback(self._scratch.free)
            self._any = self._execution()
            owned.callback(self._close_executions)
            self._owned = owned.pop_all()

    def run(self, parts: Sequence[Sequence[Floats]]) -> list[list[Floats]]:
        """Compute the rows of several calls as one batch.

        Args:
            parts: of each call, its rows of each input: float32, the same number of all inputs, together no more than
                the engine's most.
        Returns:
            of each call, its rows of each output, owned by the caller.
        Raises:
            DeviceLost: the GPU's context is gone.
            InferenceError: TensorRT or the driver failed.
        """
        counts = [len(part[0]) for part in parts]

        def put(rows: int) -> None:
            for place, buffer in enumerate(self._inputs):
                buffer.write([part[place] for part in parts], rows)
                buffer.upload(rows, self._stream)

        return self._compute(counts, put)

    def run_filled(self, count: int, fill: Fill) -> list[Floats]:
        """Compute rows that `fill` puts at the address of the engine's one input; see `run`."""
        (outputs,) = self._compute([count], lambda _: fill(self._inputs[0].address, self._stream))
        return outputs

    def close(self) -> None:
        """Free everything; may be called twice."""
        with releasing(self._device):
            self._owned.close()

    def _compute(self, counts: Sequence[int], put: Callable[[int], None]) -> list[list[Floats]]:
        rows = max(sum(counts), self._engine.batch.least)
        with self._working():
            put(rows)
            self._execute(rows)
            for buffer in self._outputs:
                buffer.download(rows, self._stream)
            self._stream.synchronize()
            ends = np.cumsum(counts)
            return [
                [buffer.rows[end - count : end].copy() for buffer in self._outputs]
                for count, end in zip(counts, ends, strict=True)
            ]

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Let nothing be under way when it ends: the buffers are the next call's."""
        with self._device.current():
            try:
                yield
            except DeviceLost:
                raise
            except BaseException:
                self._stream.synchronize()
                raise

    def _execute(self, rows: int) -> None:
        if rows in self._fixed:
            self._fixed[rows].replay(self._stream)
            return
        fixed = self._fixed_execution()
        if fixed is None:
            self._any.resize(rows)
            self._any.enqueue(self._stream)
            return
        with ExitStack() as stack:
            stack.callback(fixed.close)
            # A context goes after its work, whatever has failed.
            stack.callback(self._stream.synchronize)
            fixed.resize(rows)
            # The first execution of a shape does what may not be captured.
            fixed.enqueue(self._stream)
            self._stream.synchronize()
            if fixed.capture(self._device, self._stream):
                stack.pop_all()
                self._fixed[rows] = fixed
            else:
                self._go_on_without_graphs("its work cannot be captured")

    def _fixed_execution(self) -> Execution | None:
        """One for a single batch size, where its work may become a graph."""
        if not self._engine.graphs or len(self._fixed) >= _MOST_GRAPHS:
            return None
        try:
            return self._execution()
        except DeviceLost:
            raise
        except InferenceError as error:
            self._go_on_without_graphs(str(error))
            return None

    def _go_on_without_graphs(self, reason: str) -> None:
        self._engine.graphs = False
        _log.warning("%s: goes on without (further) CUDA graphs: %s", self._engine.name, reason)

    def _execution(self) -> Execution:
        addresses = {buffer.name: buffer.address for buffer in (*self._inputs, *self._outputs)}
        return Execution(self._engine, addresses, self._scratch, self._stream)

    def _close_executions(self) -> None:
        for execution in (*self._fixed.values(), self._any):
            execution.close()
        self._fixed.clear()


@contextmanager
def releasing(device: Device) -> Iterator[None]:
    """`device.current()` for freeing; where the device is lost, or closed before its user, without it."""
    with ExitStack() as stack:
        with suppress(InferenceError):
            stack.enter_context(device.current())
        yield


class _Buffer:
    """Rows of one input or output, in pinned host memory and, unless that is mapped, on the device.

    Attributes:
        name: the input's or output's.
        address: where the engine finds or leaves the rows.
        rows: float32 (most, ...), the host memory.
    """

    def __init__(self, port: TensorSpec, most: int, device: Device, mapped: bool, owned: ExitStack) -> None:
        shape = [axis for axis in port.shape if axis is not None]
        size_bytes = most * math.prod(shape) * np.dtype(np.float32).itemsize
        pinned = device.pinned(size_bytes)
        owned.callback(pinned.free)
        self.name = port.name
        self.address = pinned.device_address
        if not mapped:
            memory = device.allocate(size_bytes)
            owned.callback(memory.free)
            self.address = memory.address
        self.rows: Floats = pinned.array.view(np.float32).reshape(most, *shape)
        self._device, self._mapped = device, mapped

    def write(self, parts: Sequence[Floats], rows: int) -> None:
        """Put parts one after the other, and zeros up to `rows`."""
        end = 0
        for part in parts:
            self.rows[end : end + len(part)] = part
            end += len(part)
        self.rows[end:rows] = 0

    def upload(self, rows: int, stream: Stream) -> None:
        if not self._mapped:
            self._device.copy_to_device(self.address, self.rows[:rows], stream)

    def download(self, rows: int, stream: Stream) -> None:
        if not self._mapped:
            self._device.copy_from_device(self.rows[:rows], self.address, stream)
