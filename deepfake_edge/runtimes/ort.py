"""ONNX Runtime on the CPU: the runtime that is always there."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deepfake_edge.errors import BundleError, InferenceError
from deepfake_edge.optional import require
from deepfake_edge.ort_session import gist, session_options, tensor_specs
from deepfake_edge.protocols import Array
from deepfake_edge.threads import check_threads


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
        options = session_options(ort)
        if threads is not None:
            check_threads(threads)
            options.intra_op_num_threads = threads
        if not optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._name = name
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
            self.inputs = tensor_specs(self._session.get_inputs())
            self.outputs = tensor_specs(self._session.get_outputs())
        except Exception as error:
            raise BundleError(f"{name}: ONNX Runtime refuses the graph: {gist(error)}") from error

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
            raise InferenceError(f"{self._name}: ONNX Runtime failed: {gist(error)}") from error
        return {item.name: np.asarray(value) for item, value in zip(self.outputs, values, strict=True)}

    def close(self) -> None:
        """Free the session; may be called twice."""
        self._session = None


def version() -> str:
    """ONNX Runtime's version. Raises MissingDependency."""
    return str(require("onnxruntime").__version__)
