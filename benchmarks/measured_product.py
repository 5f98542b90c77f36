"""A large matrix product in one library and precision, as a process that is measured; see `process.Contender`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from deepfake_edge.benchmarks.process import serve, times_ms
from deepfake_edge.protocols import Network
from deepfake_edge.runtimes.openvino import OpenVinoNetwork
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training import workshop

_SIDE = 2048
# A pointwise convolution as Xception's middle blocks have them, on a larger map.
_CHANNELS, _MAP = 512, 48
# One product after another, so that taking float32 in and giving it out is a small part.
_DEPTH = 4
_OPSET = 17
# What goes in, a batch of one, and the weights.
_SHAPES = {
    "MatMul": ((1, _SIDE, _SIDE), (_SIDE, _SIDE)),
    "MatMulInteger": ((1, _SIDE, _SIDE), (_SIDE, _SIDE)),
    "Conv": ((1, _CHANNELS, _MAP, _MAP), (_CHANNELS, _CHANNELS, 1, 1)),
}


def product(library: str, precision: str, operator: str, seconds: float) -> dict[str, Any]:
    """Time a product.

    Args:
        library: `numpy`, or a runtime's name.
        precision: `fp32`, `bf16` or `int8`.
        operator: `MatMul` or `Conv`, or `MatMulInteger`, which takes integers and gives them.
        seconds: of measuring.
    Returns:
        `times_ms` of the calls, and the `operations` of one: 2 * M * N * K for each product.
    """
    given, weights = _SHAPES[operator]
    depth = 1 if library == "numpy" or operator == "MatMulInteger" else _DEPTH
    operations = 2 * depth * np.prod(given, dtype=np.int64) * weights[0]
    call = _numpy() if library == "numpy" else _graph(library, precision, operator, depth)
    return {"times_ms": times_ms(call, seconds), "operations": int(operations)}


def _numpy() -> Callable[[], object]:
    matrix = np.random.default_rng(0).standard_normal((_SIDE, _SIDE), dtype=np.float32)
    out = np.empty_like(matrix)
    return lambda: np.matmul(matrix, matrix, out=out)


def _graph(library: str, precision: str, operator: str, depth: int) -> Callable[[], object]:
    kind = np.uint8 if operator == "MatMulInteger" else np.float32
    given = np.random.default_rng(0).integers(0, 100, _SHAPES[operator][0]).astype(kind)
    chain = _chain(operator, depth, quantised=precision == "int8")
    loaded: Network
    if library == "openvino":
        loaded = OpenVinoNetwork(chain, name=operator, bf16=precision == "bf16")
    else:
        loaded = OnnxRuntimeNetwork(chain, name=operator)
    return lambda: loaded.run({"x0": given})


def _chain(operator: str, depth: int, *, quantised: bool) -> bytes:
    """`depth` products one after another, x0 -> x1 -> ..., of any batch; weights are constants."""
    onnx = workshop.onnx()
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array
    shape, weights = _SHAPES[operator]
    integers = operator == "MatMulInteger"
    random = np.random.default_rng(0)
    nodes, constants = [], [tensor(np.float32(0.01), "scale"), tensor(np.int8(0), "zero")]
    for place in range(depth):
        source, weight = f"x{place}", f"w{place}"
        values = random.integers(-127, 128, weights).astype(np.int8)
        constants.append(tensor(values if quantised else values.astype(np.float32) * 1e-3, weight))
        if quantised and not integers:
            nodes.append(helper.make_node("QuantizeLinear", [source, "scale", "zero"], [f"{source}q"]))
            nodes += [
                helper.make_node("DequantizeLinear", [name, "scale", "zero"], [f"{name}d"])
                for name in (f"{source}q", weight)
            ]
            source, weight = f"{source}qd", f"{weight}d"
        nodes.append(helper.make_node(operator, [source, weight], [f"x{place + 1}"]))
    types = (onnx.TensorProto.UINT8, onnx.TensorProto.INT32) if integers else (onnx.TensorProto.FLOAT,) * 2
    ports = [
        helper.make_tensor_value_info(name, kind, ("n", *shape[1:]))
        for name, kind in zip(("x0", f"x{depth}"), types, strict=True)
    ]
    graph = helper.make_graph(nodes, "chain", ports[:1], ports[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
    model.ir_version = 8
    serialised: bytes = model.SerializeToString()
    return serialised


def main() -> None:
    """Serve."""
    serve({"product": product})
