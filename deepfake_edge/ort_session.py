"""Sessions of ONNX Runtime, whatever they run on. The module is handed in; it is imported by the runtimes alone."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from deepfake_edge.protocols import Array, TensorSpec

# Rows that a bound session computes at once: bounds what a call takes of the device's memory.
_PIECE = 16
# Sets of buffers that wait for the next call, each for one batch size.
_WAITING = 8
_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


def session_options(ort: ModuleType) -> Any:
    """Options of a session that shares the cores with preprocessing and the face finder."""
    options = ort.SessionOptions()
    # Only what is fatal: errors are raised, and would be said twice.
    options.log_severity_level = 4
    options.inter_op_num_threads = 1
    # Spinning workers steal the cores from preprocessing and the face finder between two calls.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Left to itself it also takes its own format, whose mark can stand in the bytes of a checked ONNX file.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    return options


def tensor_specs(items: Iterable[Any]) -> tuple[TensorSpec, ...]:
    """A session's inputs or outputs, in order."""
    return tuple(_tensor(item) for item in items)


def gist(error: Exception) -> str:
    """The first line of what ONNX Runtime says: those after it are places in its own source."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class BoundSession:
    """A session whose inputs and outputs stay in buffers on its device, one set a batch size, used again and again.

    Args:
        ort: the onnxruntime module.
        session: what computes.
        place: kind and number of the device that its buffers are on, such as ("cuda", 0).
    Raises:
        ValueError: another axis than the first is open, or the first is not.
    """

    def __init__(self, ort: ModuleType, session: Any, place: tuple[str, int]) -> None:
        self.inputs = tensor_specs(session.get_inputs())
        self.outputs = tensor_specs(session.get_outputs())
        self._ort, self._session, self._place = ort, session, place
        self._waiting: list[_Buffers] = []
        self._lock = threading.Lock()
        for item in (*self.inputs, *self.outputs):
            if not item.shape or item.shape[0] is not None or None in item.shape[1:]:
                raise ValueError(f"{item.name}: wanted a batch of any size on axis 0 alone, found {item.shape}")

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output, piece by piece. Raises ValueError where the feeds do not fit."""
        arrays = [self._fitting(item, feeds.get(item.name)) for item in self.inputs]
        count = len(arrays[0])
        if not count or any(len(array) != count for array in arrays):
            raise ValueError(f"wanted batches of one size, got {[len(array) for array in arrays]}")
        pieces = [self._piece([array[start : start + _PIECE] for array in arrays]) for start in range(0, count, _PIECE)]
        joined = pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        return {item.name: value for item, value in zip(self.outputs, joined, strict=True)}

    def _piece(self, arrays: Sequence[Array]) -> list[Array]:
        buffers = self._take(len(arrays[0]))
        values = buffers.run(self._session, arrays)
        # After an error they are not used again: what they hold is not known.
        with self._lock:
            self._waiting.append(buffers)
            del self._waiting[:-_WAITING]
        return values

    def _take(self, count: int) -> _Buffers:
        with self._lock:
            for place, buffers in enumerate(self._waiting):
                if buffers.count == count:
                    return self._waiting.pop(place)
        return _Buffers(self._ort, self._session, self._place, (self.inputs, self.outputs), count)

    def _fitting(self, wanted: TensorSpec, found: Array | None) -> Array:
        """ONNX Runtime would copy an array of another type into the buffer byte by byte, without a word."""
        if found is None:
            raise ValueError(f"wanted an input {wanted.name!r}, found none")
        if found.dtype.name != wanted.dtype or found.shape[1:] != wanted.shape[1:] or not found.shape:
            raise ValueError(f"{wanted.name}: wanted {wanted.dtype} {wanted.shape}, got {found.dtype} {found.shape}")
        return np.ascontiguousarray(found)


class _Buffers:
    """Inputs and outputs of one batch size, bound to a session; for one call at a time."""

    def __init__(
        self,
        ort: ModuleType,
        session: Any,
        place: tuple[str, int],
        ports: tuple[Sequence[TensorSpec], Sequence[TensorSpec]],
        count: int,
    ) -> None:
        def buffer(item: TensorSpec) -> Any:
            return ort.OrtValue.ortvalue_from_shape_and_type(
                [count, *item.shape[1:]], np.dtype(item.dtype).type, *place
            )

        self.count = count
        self._binding = session.io_binding()
        self._inputs = [buffer(item) for item in ports[0]]
        for item, value in zip(ports[0], self._inputs, strict=True):
            self._binding.bind_ortvalue_input(item.name, value)
        for item in ports[1]:
            self._binding.bind_ortvalue_output(item.name, buffer(item))

    def run(self, session: Any, arrays: Sequence[Array]) -> list[Array]:
        for value, array in zip(self._inputs, arrays, strict=True):
            value.update_inplace(array)
        session.run_with_iobinding(self._binding)
        return list(self._binding.copy_outputs_to_cpu())


def _tensor(item: Any) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) else None for axis in item.shape)
    kind = str(item.type)
    return TensorSpec(str(item.name), shape, _DTYPES.get(kind, kind))
