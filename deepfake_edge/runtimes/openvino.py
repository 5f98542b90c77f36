"""OpenVINO on the CPU: optional, and the only runtime here that computes in bfloat16."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from deepfake_edge.errors import BundleError, InferenceError, InvalidInput
from deepfake_edge.onnx_ports import input_names, output_names
from deepfake_edge.optional import require
from deepfake_edge.protocols import Array, TensorSpec
from deepfake_edge.threads import check_threads

# Crops that are computed at once, where there are so many.
_PIECE = 4
_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}


class OpenVinoNetwork:
    """A graph on OpenVINO's CPU plugin; implements `protocols.Network`.

    `run` may be called from several threads at once; the calls wait for one another: `threads` bounds them all.

    Axis 0 of every input and output is the batch. A batch is run in pieces of four and one, for which the graph is
    compiled when they first come. Compiled for any size it is slower (int8 by 5-8 % of the CPU's time) and rounds
    int8 otherwise, while known sizes agree to the last bit: what was proved of one crop holds for many. Each size takes
    the memory of the weights again, and half a second of a large network.
    """

    def __init__(self, graph: bytes, *, name: str, threads: int | None = None, bf16: bool = False) -> None:
        """Load a graph.

        Args:
            graph: serialised ONNX, already checked by `onnx_wire.check_onnx`.
            name: what to call it in messages.
            threads: threads for one call; None takes one a physical core.
            bf16: compute in bfloat16 what the graph has in float32.
        Raises:
            InvalidInput: `threads` is out of range, or this CPU does not compute in bfloat16.
            MissingDependency: OpenVINO is not installed.
            BundleError: OpenVINO refuses the graph.
        """
        if bf16:
            check_bf16()
        self._name = name
        self._lock = threading.Lock()
        self._settings = _settings(threads, bf16)
        self._requests: dict[int, Any] = {}
        openvino = _openvino()
        try:
            # Left to itself it takes every format that it knows by its first bytes; only ONNX has been checked.
            frontend = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            self._model = frontend.convert(frontend.load(io.BytesIO(graph)))
            self.inputs = _tensors(self._model.inputs, input_names(graph, name))
            self.outputs = _tensors(self._model.outputs, output_names(graph, name))
            ports = (*self.inputs, *self.outputs)
            if not self.inputs or any(not item.shape or item.shape[0] is not None for item in ports):
                raise ValueError("wanted axis 0 of every input and output to be a batch of any size")
            self._request(1)
        except Exception as error:
            raise BundleError(f"{name}: OpenVINO refuses the graph: {_gist(error)}") from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output.

        Raises:
            InferenceError: it is closed, the feeds do not fit, or OpenVINO fails.
        """
        for item in self.inputs:
            self._check_feed(item, feeds.get(item.name))
        arrays = [np.ascontiguousarray(feeds[item.name]) for item in self.inputs]
        count = len(arrays[0])
        if not count or any(len(array) != count for array in arrays):
            raise InferenceError(f"{self._name}: wanted batches of one size, got {[len(array) for array in arrays]}")
        with self._lock:
            if self._model is None:
                raise InferenceError(f"{self._name}: is closed")
            try:
                pieces = [self._run([array[piece] for array in arrays]) for piece in _pieces(count)]
            except Exception as error:
                raise InferenceError(f"{self._name}: OpenVINO failed: {_gist(error)}") from error
        joined = pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
        return {item.name: value for item, value in zip(self.outputs, joined, strict=True)}

    def close(self) -> None:
        """Free the network; waits for a call that runs; may be called twice."""
        with self._lock:
            self._model = None
            self._requests.clear()

    def _run(self, arrays: Sequence[Array]) -> list[Array]:
        given = self._request(len(arrays[0])).infer(arrays, share_inputs=True)
        return [given[place] for place in range(len(self.outputs))]

    def _request(self, size: int) -> Any:
        if size not in self._requests:
            closed = self._model.clone()
            shapes = {place: port.get_partial_shape() for place, port in enumerate(closed.inputs)}
            for shape in shapes.values():
                shape[0] = size
            closed.reshape(shapes)
            self._requests[size] = _core().compile_model(closed, "CPU", self._settings).create_infer_request()
        return self._requests[size]

    def _check_feed(self, wanted: TensorSpec, found: Array | None) -> None:
        """OpenVINO would convert another type, and take another shape as a new one, without a word."""
        if found is None:
            raise InferenceError(f"{self._name}: wanted an input {wanted.name!r}, found none")
        fits = len(found.shape) == len(wanted.shape) and all(
            axis in (None, size) for axis, size in zip(wanted.shape, found.shape, strict=True)
        )
        if found.dtype.name != wanted.dtype or not fits:
            raise InferenceError(
                f"{self._name}: {wanted.name}: wanted {wanted.dtype} {wanted.shape}, got {found.dtype} {found.shape}"
            )


def version() -> str:
    """OpenVINO's version. Raises MissingDependency."""
    return str(_openvino().__version__).partition("-")[0]


def capabilities() -> frozenset[str]:
    """What the CPU computes in, in OpenVINO's words: FP32, BF16, INT8, ... Raises MissingDependency."""
    return frozenset(map(str, _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))


def has_bf16() -> bool:
    """Whether the CPU computes in bfloat16. Raises MissingDependency."""
    return "BF16" in capabilities()


def check_bf16() -> None:
    """Raises InvalidInput where the CPU does not compute in bfloat16, MissingDependency where OpenVINO is absent."""
    if not has_bf16():
        found = ", ".join(sorted(capabilities() & {"FP32", "FP16", "BF16", "INT8"}))
        raise InvalidInput(f"precision: bf16: this CPU does not compute in bfloat16; OpenVINO finds {found}")


def _openvino() -> ModuleType:
    return require("openvino", extra="openvino")


@lru_cache(maxsize=1)
def _core() -> Any:
    return _openvino().Core()


def _settings(threads: int | None, bf16: bool) -> dict[str, Any]:
    """For calls that are waited for, and share the cores with preprocessing and the face finder.

    https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
    """
    settings: dict[str, Any] = {
        # Left to itself it computes float32 graphs in bfloat16 where the CPU can.
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        # Of two streams one computed nonsense: int8 features 18 times the right ones (2026.4.1).
        "NUM_STREAMS": 1,
        # Several networks pinned to the same cores would wait for one another while other cores are idle.
        "ENABLE_CPU_PINNING": False,
    }
    if threads is not None:
        check_threads(threads)
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def _pieces(count: int) -> Iterator[slice]:
    start = 0
    while start < count:
        size = _PIECE if count - start >= _PIECE else 1
        yield slice(start, start + size)
        start += size


def _tensors(ports: Sequence[Any], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Ports by the names that the graph gives them: what passes through unchanged carries others as well."""
    if len(ports) != len(names):
        raise ValueError(f"{len(names)} in the graph ({', '.join(names)}) became {len(ports)}")
    return tuple(_tensor(port, name) for port, name in zip(ports, names, strict=True))


def _tensor(port: Any, name: str) -> TensorSpec:
    if name not in port.get_names():
        raise ValueError(f"{name} is not where it stood; found {', '.join(sorted(port.get_names()))}")
    shape = tuple(None if axis.is_dynamic else axis.get_length() for axis in port.get_partial_shape())
    kind = port.get_element_type().get_type_name()
    return TensorSpec(name, shape, _DTYPES.get(kind, kind))


def _gist(error: Exception) -> str:
    """The last line that says something: those before it are places in OpenVINO's own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
