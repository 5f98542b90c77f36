"""TensorRT on an NVIDIA GPU: a plan that `deepfake-edge build` made, as a network."""

from __future__ import annotations

import atexit
import logging
import statistics
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from deepfake_edge.cuda.device import Device
from deepfake_edge.data import Floats
from deepfake_edge.engines.lanes import Fill, Lane, releasing
from deepfake_edge.engines.loading import LoadedEngine
from deepfake_edge.engines.merging import Merger
from deepfake_edge.errors import InferenceError, InvalidInput
from deepfake_edge.protocols import Array, TensorSpec

Memory: TypeAlias = Literal["copied", "mapped"]
"""How rows reach the GPU: copied into its memory, or read by it where the CPU wrote them. See `lanes.Lane`."""

_TIMED_CALLS = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Filled:
    """Rows that are made on the device."""

    count: int
    fill: Fill


_Given: TypeAlias = "tuple[Floats, ...] | _Filled"


class TensorRtNetwork:
    """An engine on a GPU; implements `protocols.Network`.

    `run` may be called from several threads at once. Calls that find every lane busy are computed together, as far as
    the engine's largest batch holds them; larger batches are cut, smaller ones than its least are padded.

    Attributes:
        memory: how rows reach the GPU.
        lanes: the most batches at a time.
    """

    def __init__(
        self,
        plan: bytes,
        device: Device,
        *,
        name: str,
        lanes: int = 2,
        graphs: bool = True,
        memory: Memory | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        """Load an engine.

        Args:
            plan: as TensorRT wrote it, its sha256 checked by `engines.store`: a plan is a program.
            device: where it was built; closed after this network.
            name: what to call it in messages.
            lanes: the most batches that are computed at a time; each takes the memory of the engine's largest batch.
            graphs: replay CUDA graphs where the driver makes them.
            memory: None: copied; on a GPU that shares the CPU's memory what a few calls show to be faster.
            on_close: is called once, when everything is freed, also where loading fails: to close the device.
        Raises:
            InvalidInput: `lanes` is no number of lanes.
            MissingDependency: there is no TensorRT.
            EngineMismatch: the plan is no engine for this device, or takes or gives other than float32 rows.
            OutOfDeviceMemory: the GPU has too little left; nothing is kept.
        """
        self._name = name
        self._closing = threading.Lock()
        with ExitStack() as owned:
            if on_close is not None:
                owned.callback(on_close)
            if isinstance(lanes, bool) or not isinstance(lanes, int) or lanes < 1:
                raise InvalidInput(f"lanes: wanted a whole number from 1 on, got {lanes!r}")
            with device.current():
                engine = LoadedEngine(plan, device, name=name, graphs=graphs)
            owned.callback(_close_engine, engine)
            self.inputs, self.outputs = engine.inputs, engine.outputs
            self.memory: Memory = memory or _faster_memory(engine)
            self._most = engine.batch.most
            make = partial(Lane, engine, mapped=self.memory == "mapped")
            self._merger = Merger(make(), make, _compute, lanes=lanes, rows=self._most, name=name)
            owned.callback(self._merger.close)
            # Also when it is forgotten, and when Python ends before the device is closed there.
            self._free = weakref.finalize(self, owned.pop_all().close)
            self._free.atexit = False
            atexit.register(self._free)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output.

        Raises:
            DeviceLost: the GPU's context is gone; restart the process.
            InferenceError: it is closed, the feeds do not fit, or TensorRT or the driver fails.
        """
        arrays = tuple(self._checked(item, feeds.get(item.name)) for item in self.inputs)
        count = len(arrays[0])
        if not count or any(len(array) != count for array in arrays):
            raise InferenceError(f"{self._name}: wanted batches of one size, got {[len(array) for array in arrays]}")
        pieces = [
            (min(self._most, count - start), tuple(array[start : start + self._most] for array in arrays))
            for start in range(0, count, self._most)
        ]
        found = self._merger.run(pieces)
        joined = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
        return self._named(joined)

    def run_on_device(self, count: int, fill: Fill) -> dict[str, Array]:
        """Compute rows that are made on the device.

        Args:
            count: how many rows, from 1 to `most_rows`.
            fill: is called once with the device address of the network's input, float32 (count, ...), and the stream
                on which it puts the rows there, without waiting; the device's context is current.
        Returns:
            every output, on the host.
        Raises:
            InvalidInput: `count` is out of range, or the network has several inputs.
            DeviceLost, InferenceError: see `run`; also whatever `fill` raises.
        """
        if len(self.inputs) != 1 or not 1 <= count <= self._most:
            raise InvalidInput(
                f"{self._name}: wanted one input and 1 to {self._most} rows, got {len(self.inputs)} and {count}"
            )
        # As many rows as there may be: it is never computed together with others.
        (found,) = self._merger.run([(self._most, _Filled(count, fill))])
        return self._named(found)

    @property
    def most_rows(self) -> int:
        """The engine's largest batch."""
        return self._most

    def close(self) -> None:
        """Let the calls that run end, and free everything; may be called twice."""
        with self._closing:
            self._free()
            atexit.unregister(self._free)

    def _checked(self, wanted: TensorSpec, found: Array | None) -> Floats:
        if found is None:
            raise InferenceError(f"{self._name}: wanted an input {wanted.name!r}, found none")
        if found.dtype != np.float32 or found.ndim != len(wanted.shape) or found.shape[1:] != wanted.shape[1:]:
            raise InferenceError(
                f"{self._name}: {wanted.name}: wanted {wanted.dtype} {wanted.shape}, got {found.dtype} {found.shape}"
            )
        return found

    def _named(self, outputs: Sequence[Floats]) -> dict[str, Array]:
        return {item.name: value for item, value in zip(self.outputs, outputs, strict=True)}


def _compute(lane: Lane, given: Sequence[_Given]) -> list[list[Floats]]:
    first = given[0]
    if isinstance(first, _Filled):
        return [lane.run_filled(first.count, first.fill)]
    return lane.run([part for part in given if not isinstance(part, _Filled)])


def _close_engine(engine: LoadedEngine) -> None:
    with releasing(engine.device):
        engine.close()


def _faster_memory(engine: LoadedEngine) -> Memory:
    if not engine.device.facts.integrated:
        return "copied"
    times_s: dict[Memory, float] = {memory: _time(engine, memory) for memory in ("copied", "mapped")}
    faster = min(times_s, key=times_s.__getitem__)
    said = ", ".join(f"{memory} {1e3 * time_s:.2f} ms" for memory, time_s in times_s.items())
    _log.info("%s: memory %s, the faster of %s for %d rows", engine.name, faster, said, engine.batch.best)
    return faster


def _time(engine: LoadedEngine, memory: Memory) -> float:
    """Seconds for a batch of the size that the engine is best at: the median of a few calls."""
    rows = engine.batch.best
    shapes = [[rows, *(axis for axis in port.shape if axis is not None)] for port in engine.inputs]
    batch = [np.zeros(shape, np.float32) for shape in shapes]
    lane = Lane(engine, mapped=memory == "mapped")
    try:
        # Twice before: the first captures the graph that the second is the first to replay.
        lane.run([batch])
        lane.run([batch])
        times_s = []
        for _ in range(_TIMED_CALLS):
            start_s = time.perf_counter()
            lane.run([batch])
            times_s.append(time.perf_counter() - start_s)
        return statistics.median(times_s)
    finally:
        lane.close()
