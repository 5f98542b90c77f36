"""OpenVINO on the CPU: optional, and the only runtime here that computes in bfloat16."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from deepfake_edge.errors import BundleError, InferenceError, InvalidInput, MissingDependency
from deepfake_edge.onnx_ports import input_names, output_names
from deepfake_edge.optional import require
from deepfake_edge.protocols import Array, TensorSpec

# More than any processor has.
_MAX_THREADS = 1024
_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}


class OpenVinoNetwork:
    """A graph on OpenVINO's CPU plugin; implements `protocols.Network`.

    `run` may be called from several threads at once; the calls wait for one another, since each has all threads.

    It is compiled for a batch of one, what most calls bring, and once more, when the first larger batch comes, for any
    size: a known size is faster (int8 by 5-8 % of the CPU's time, others by 1 %), and one more for each would take the
    memory of the weights again and half a second in the middle of a stream.
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
        if threads is not None and not 0 <= threads <= _MAX_THREADS:
            raise InvalidInput(f"threads: wanted from 0 (one a physical core) to {_MAX_THREADS}, got {threads}")
        if bf16:
            check_bf16()
        self._name = name
        self._lock = threading.Lock()
        self._settings = _settings(threads, bf16)
        self._any: Any = None
        try:
            # Left to itself it takes every format that it knows by its first bytes; only ONNX has been checked.
            frontend = _openvino().frontend.FrontEndManager().load_by_framework("onnx")
            model = frontend.convert(frontend.load(io.BytesIO(graph)))
            self.inputs = _tensors(model.inputs, input_names(graph, name))
            self.outputs = _tensors(model.outputs, output_names(graph, name))
            self._single = _compiled(_for_one(model), self._settings)
            self._model = model
        except MissingDependency:
            raise
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
        with self._lock:
            if self._single is None:
                raise InferenceError(f"{self._name}: is closed")
            try:
                given = self._request_for(arrays).infer(arrays, share_inputs=True)
                return {item.name: given[place] for place, item in enumerate(self.outputs)}
            except Exception as error:
                raise InferenceError(f"{self._name}: OpenVINO failed: {_gist(error)}") from error

    def close(self) -> None:
        """Free the network; waits for a call that runs; may be called twice."""
        with self._lock:
            self._single = self._any = self._model = None

    def _request_for(self, arrays: Sequence[Array]) -> Any:
        if all(len(array) == 1 for array in arrays):
            return self._single
        if self._any is None:
            self._any, self._model = _compiled(self._model, self._settings), None
        return self._any

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
    """For one call at a time that shares its cores with preprocessing and the face finder.

    https://docs.openvino.ai/2026/openvino-workflow/running-inference/inference-devices-and-modes/cpu-device.html
    """
    settings: dict[str, Any] = {
        # Left to itself it computes float32 graphs in bfloat16 where the CPU can.
        "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        # Several networks pinned to the same cores would wait for one another while other cores are idle.
        "ENABLE_CPU_PINNING": False,
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings


def _for_one(model: Any) -> Any:
    """The same model, its open batch axes closed at 1."""
    closed = model.clone()
    shapes = {place: port.get_partial_shape() for place, port in enumerate(closed.inputs)}
    for shape in shapes.values():
        if shape[0].is_dynamic:
            shape[0] = 1
    closed.reshape(shapes)
    return closed


def _compiled(model: Any, settings: Mapping[str, Any]) -> Any:
    return _core().compile_model(model, "CPU", settings).create_infer_request()


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
