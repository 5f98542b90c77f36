"""The ONNX behind a network or a plan: what the parser makes of it, and its numbers by ONNX Runtime.

Precision is approximated as simply as honesty allows. A fp32 build that may use TF32 (flag not cleared, SM 8.0 and up),
and a build with the FP16 flag (which lets TensorRT run any fp32 layer in half), round what enters convolutions and
matrix products to half and back: half has TF32's ten bits of mantissa. Everything else computes as the graph says.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

_PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU")
_LOOPS = ("GRU", "If", "LSTM", "Loop", "RNN", "Scan")
# The importer's own list of operators says no to these.
_REFUSED = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul")
_KINDS = {
    onnx.TensorProto.FLOAT: ("FLOAT", np.float32),
    onnx.TensorProto.FLOAT16: ("HALF", np.float16),
    onnx.TensorProto.INT8: ("INT8", np.int8),
    onnx.TensorProto.UINT8: ("UINT8", np.uint8),
    onnx.TensorProto.INT32: ("INT32", np.int32),
    onnx.TensorProto.INT64: ("INT64", np.int64),
    onnx.TensorProto.BOOL: ("BOOL", np.bool_),
}
_SESSIONS = threading.Lock()


class Graph:
    """A parsed graph: its ports, and what the builder has to know of it.

    Attributes:
        inputs, outputs: names with shapes, -1 for a dynamic axis.
        kinds: name of TensorRT's data type by port.
    """

    def __init__(self, data: bytes) -> None:
        """Raises ValueError: the bytes are no ONNX model."""
        try:
            self._model = onnx.load_from_string(data)
        except DecodeError as error:
            raise ValueError("Failed to parse ONNX model from buffer.") from error
        if not self._model.graph.node:
            raise ValueError("Failed to parse ONNX model from buffer.")
        self.data = data
        graph = self._model.graph
        constants = {item.name for item in graph.initializer}
        ports = [item for item in graph.input if item.name not in constants]
        self.inputs = {item.name: _shape(item) for item in ports}
        self.outputs = {item.name: _shape(item) for item in graph.output}
        self.kinds = {item.name: _KINDS[item.type.tensor_type.elem_type][0] for item in (*ports, *graph.output)}
        self._dtypes = {item.name: _KINDS[item.type.tensor_type.elem_type][1] for item in (*ports, *graph.output)}
        self.loops = any(node.op_type in _LOOPS for node in graph.node)
        self.quantised = any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in graph.node)
        self.weights_bytes = sum(len(item.raw_data) or 4 * int(np.prod(item.dims)) for item in graph.initializer)
        self._sessions: dict[bool, Any] = {}
        self._shapes: dict[tuple[Any, ...], dict[str, tuple[int, ...]]] = {}

    @property
    def layers(self) -> list[str]:
        """A name for each node."""
        return [node.name or f"{node.op_type}_{number}" for number, node in enumerate(self._model.graph.node)]

    @property
    def half(self) -> bool:
        """Whether any tensor is in half precision."""
        graph = self._model.graph
        wanted = onnx.TensorProto.FLOAT16
        if any(item.data_type == wanted for item in graph.initializer) or "HALF" in self.kinds.values():
            return True
        casts = [attribute.i for node in graph.node if node.op_type == "Cast" for attribute in node.attribute]
        return wanted in casts

    def dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(self._dtypes[name])

    def problems(self, unsupported: set[str]) -> list[tuple[int, str, str]]:
        """Every node that the importer refuses: its number, its operator, why."""
        found = []
        constants = {item.name: onnx.numpy_helper.to_array(item) for item in self._model.graph.initializer}
        for number, node in enumerate(self._model.graph.node):
            if node.domain not in ("", "ai.onnx") or node.op_type in (*_REFUSED, *unsupported):
                why = "No importer registered for op: {0}. Attempting to import as plugin. Plugin not found"
                found.append((number, node.op_type, why.format(node.op_type)))
            elif node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
                zero = constants.get(node.input[2])
                if zero is None or zero.dtype == np.uint8 or np.any(zero):
                    why = "Assertion failed: shiftIsAllZeros(zeroPoint): TensorRT only supports symmetric quantization."
                    found.append((number, node.op_type, why))
        return found

    def output_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """The outputs' shapes for given shapes of the inputs; -1 where they cannot be said."""
        key = tuple(sorted(shapes.items()))
        if key not in self._shapes:
            model = onnx.ModelProto()
            model.CopyFrom(self._model)
            for item in model.graph.input:
                if item.name in shapes:
                    _fix(item, shapes[item.name])
            for item in model.graph.output:
                item.type.tensor_type.ClearField("shape")
            inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
            self._shapes[key] = {item.name: _shape(item) for item in inferred.graph.output}
        return self._shapes[key]

    def run(self, feeds: Mapping[str, NDArray[Any]], *, rounded: bool) -> dict[str, NDArray[Any]]:
        """Compute every output; `rounded` as the module says."""
        with _SESSIONS:
            if rounded not in self._sessions:
                self._sessions[rounded] = self._session(rounded)
        values = self._sessions[rounded].run(list(self.outputs), dict(feeds))
        return dict(zip(self.outputs, values, strict=True))

    def _session(self, rounded: bool) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        data = _rounded(self._model).SerializeToString() if rounded else self.data
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _shape(item: Any) -> tuple[int, ...]:
    dims = item.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)


def _fix(item: Any, shape: tuple[int, ...]) -> None:
    for dim, size in zip(item.type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size


def _rounded(model: Any) -> Any:
    """A copy whose products take their fp32 inputs through half."""
    inferred = onnx.shape_inference.infer_shapes(model)
    graph = inferred.graph
    kinds = {item.name: item.type.tensor_type.elem_type for item in (*graph.input, *graph.value_info, *graph.output)}
    kinds |= {item.name: item.data_type for item in graph.initializer}
    nodes = []
    for number, node in enumerate(graph.node):
        for at, name in enumerate(node.input[:3] if node.op_type in _PRODUCTS else ()):
            if kinds.get(name) == onnx.TensorProto.FLOAT:
                low, back = f"{name}_low_{number}_{at}", f"{name}_back_{number}_{at}"
                nodes.append(onnx.helper.make_node("Cast", [name], [low], to=onnx.TensorProto.FLOAT16))
                nodes.append(onnx.helper.make_node("Cast", [low], [back], to=onnx.TensorProto.FLOAT))
                node.input[at] = back
        nodes.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return inferred
