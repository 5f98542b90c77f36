"""ONNX Runtime on the CPU: the runtime that is always there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepfake_edge.errors import BundleError, InferenceError
from deepfake_edge.optional import require
from deepfake_edge.protocols import Array, TensorSpec
from deepfake_edge.threads import check_threads

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}


class OnnxRuntimeNetwork:
    """A graph on ONNX Runtime's CPU provider; implements `protocols.Network`.

    `run` may be called from several threads at once.
    """

    def __init__(self, graph: bytes, *, name: str, threads: int | None = None, optimise: bool = True) -> None:
        """Load a graph.

        Args:
            graph: serialised ONNX, already checked by `onnx_wire.check_onnx`.
            name: what to call it in messages.
            threads: threads for one call; None takes one a physical core.
            optimise: rewrite the graph to run faster; without, each operator runs as it stands: the reference.
        Raises:
            InvalidInput: `threads` is out of range.
            BundleError: ONNX Runtime refuses the graph.
        """
        ort = require("onnxruntime")
        options = ort.SessionOptions()
        # Only what is fatal: errors are raised, and would be said twice.
        options.log_severity_level = 4
        options.inter_op_num_threads = 1
        if threads is not None:
            check_threads(threads)
            options.intra_op_num_threads = threads
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Spinning workers steal the cores from preprocessing and the face finder between two calls.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Left to itself it also takes its own format, whose mark can stand in the bytes of a checked ONNX file.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        self._name = name
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self.inputs = tuple(_tensor(item) for item in self._session.get_inputs())
            self.outputs = tuple(_tensor(item) for item in self._session.get_outputs())
        except Exception as error:
            raise BundleError(f"{name}: ONNX Runtime refuses the graph: {_first_line(error)}") from error

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output.

        Raises:
            InferenceError: it is closed, the feeds do not fit, or ONNX Runtime fails.
        """
        if self._session is None:
            raise InferenceError(f"{self._name}: is closed")
        try:
            values = self._session.run(None, dict(feeds))
        except Exception as error:
            raise InferenceError(f"{self._name}: ONNX Runtime failed: {_first_line(error)}") from error
        return {item.name: np.asarray(value) for item, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        """Free the session; may be called twice."""
        self._session = None


def version() -> str:
    """ONNX Runtime's version. Raises MissingDependency."""
    return str(require("onnxruntime").__version__)


def _tensor(item: object) -> TensorSpec:
    shape = tuple(axis if isinstance(axis, int) else None for axis in item.shape)  # type: ignore[attr-defined]
    kind = str(item.type)  # type: ignore[attr-defined]
    return TensorSpec(str(item.name), shape, _DTYPES.get(kind, kind))  # type: ignore[attr-defined]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
