"""What the double is tried with: a GPU by its bare driver functions, small graphs, and the usual calls around them."""

from __future__ import annotations

import ctypes
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx

_NON_BLOCKING = 1


class Gpu:
    """The CUDA double with its primary context pushed in this thread."""

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        self.driver = ctypes.CDLL("libcuda.so.1")
        self.context = ctypes.c_void_p()
        self._memory: list[int] = []
        self._streams: list[int] = []
        self.driver.cuInit(0)
        self.driver.cuDevicePrimaryCtxRetain(ctypes.byref(self.context), 0)

    def push(self) -> None:
        self.driver.cuCtxPushCurrent_v2(self.context)

    def pop(self) -> None:
        self.driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))

    def memory(self, size_bytes: int) -> int:
        self._memory.append(self.cuda.allocate(size_bytes))
        return self._memory[-1]

    def free(self, address: int) -> None:
        self._memory.remove(address)
        self.cuda.free(address)

    def stream(self) -> int:
        handle = ctypes.c_uint64()
        assert self.driver.cuStreamCreate(ctypes.byref(handle), _NON_BLOCKING) == 0
        self._streams.append(handle.value)
        return handle.value

    def synchronise(self, stream: int) -> int:
        return int(self.driver.cuStreamSynchronize(ctypes.c_void_p(stream)))

    def close(self) -> None:
        for stream in self._streams:
            self.driver.cuStreamDestroy_v2(ctypes.c_void_p(stream))
        if not self.cuda.sticky:
            for address in self._memory:
                self.cuda.free(address)
        self.pop()
        self.driver.cuDevicePrimaryCtxRelease_v2(0)


def one(kind: int, values: Any, name: str) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(values, onnx.helper.tensor_dtype_to_np_dtype(kind)), name)


def model(nodes: list[Any], weights: list[Any] = [], *, wide: int = 4) -> bytes:  # noqa: B006
    """A graph from x (n, 4) to y (n, `wide`), both float32."""
    kind = onnx.TensorProto.FLOAT
    value = onnx.helper.make_tensor_value_info
    ends = [value("x", kind, ["n", 4])], [value("y", kind, ["n", wide])]
    graph = onnx.helper.make_graph(nodes, "graph", *ends, weights)
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()


def plain() -> bytes:
    """y = x @ w in fp32."""
    weights = np.random.default_rng(0).normal(size=(4, 3))
    return model([_node("MatMul", "x w", "y")], [one(onnx.TensorProto.FLOAT, weights, "w")], wide=3)


def halves() -> bytes:
    """The same with its product in half."""
    weights = np.random.default_rng(0).normal(size=(4, 3))
    nodes = [
        _node("Cast", "x", "low", to=onnx.TensorProto.FLOAT16),
        _node("MatMul", "low w", "out"),
        _node("Cast", "out", "y", to=onnx.TensorProto.FLOAT),
    ]
    return model(nodes, [one(onnx.TensorProto.FLOAT16, weights, "w")], wide=3)


def quantised(zero: int = 0, kind: int = onnx.TensorProto.INT8) -> bytes:
    """x through int8 and back."""
    weights = [one(onnx.TensorProto.FLOAT, 0.1, "scale"), one(kind, zero, "zero")]
    return model(
        [_node("QuantizeLinear", "x scale zero", "q"), _node("DequantizeLinear", "q scale zero", "y")], weights
    )


def with_operator(operator: str, domain: str = "") -> bytes:
    return model([_node(operator, "x", "y", domain=domain)])


def conditional() -> bytes:
    """y = x, by an If: something that asks the host."""
    value = onnx.helper.make_tensor_value_info("then", onnx.TensorProto.FLOAT, ["n", 4])
    branch = onnx.helper.make_graph([_node("Identity", "x", "then")], "branch", [], [value])
    node = onnx.helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    return model([node], [one(onnx.TensorProto.BOOL, True, "yes")])


def _node(operator: str, given: str, made: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(operator, given.split(), made.split(), **attributes)


class Lines:
    """A logger's memory."""

    def __init__(self, trt: ModuleType) -> None:
        lines = self.all = []

        class Logger(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                lines.append(f"{severity.name}: {msg}")

        self.logger = Logger()

    def __contains__(self, text: str) -> bool:
        return any(text in line for line in self.all)


def network_flags(trt: ModuleType, *, strong: bool = False) -> int:
    kinds = trt.NetworkDefinitionCreationFlag
    names = ["EXPLICIT_BATCH", *(["STRONGLY_TYPED"] if strong else [])]
    return sum(1 << int(getattr(kinds, name)) for name in names if hasattr(kinds, name))


def order(trt: ModuleType, graph: bytes, **wanted: Any) -> SimpleNamespace:
    """Builder, network and config for a graph, ready to build; `wanted`: flags, strong, batches, monitor, cache."""
    lines = Lines(trt)
    builder = trt.Builder(lines.logger)
    network = builder.create_network(
        wanted.get("network_flags", network_flags(trt, strong=wanted.get("strong", False)))
    )
    parser = trt.OnnxParser(network, lines.logger)
    parsed = parser.parse(graph)
    config = builder.create_builder_config()
    if not wanted.get("tf32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    for flag in wanted.get("flags", ()):
        config.set_flag(getattr(trt.BuilderFlag, flag))
    if wanted.get("shared") and trt.__version__.startswith("8"):
        config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    for batches in (wanted.get("batches", (1, 2, 8)),):
        profile = builder.create_optimization_profile()
        profile.set_shape("x", *((batch, 4) for batch in batches))
        added = config.add_optimization_profile(profile)
    return SimpleNamespace(
        lines=lines, builder=builder, network=network, parser=parser, parsed=parsed, config=config, added=added
    )


def build(trt: ModuleType, graph: bytes, **wanted: Any) -> bytes:
    """A plan."""
    made = order(trt, graph, **wanted)
    assert made.parsed, made.lines.all
    plan = made.builder.build_serialized_network(made.network, made.config)
    assert plan is not None, made.lines.all
    return bytes(plan)


def load(trt: ModuleType, plan: bytes) -> SimpleNamespace:
    """Runtime, engine and a context."""
    lines = Lines(trt)
    runtime = trt.Runtime(lines.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    assert engine is not None, lines.all
    return SimpleNamespace(lines=lines, runtime=runtime, engine=engine, context=engine.create_execution_context())


X = np.random.default_rng(1).normal(size=(8, 4)).astype(np.float32)


class Lane:
    """A context with a stream and memory for eight rows."""

    def __init__(self, gpu: Gpu, loaded: SimpleNamespace, *, context: Any = None) -> None:
        self.gpu = gpu
        self.context = context or loaded.context
        self.stream = gpu.stream()
        self.addresses = {name: gpu.memory(8 * 16) for name in ("x", "y")}
        for name, address in self.addresses.items():
            assert self.context.set_tensor_address(name, address)

    def shape(self, rows: int) -> None:
        assert self.context.set_input_shape("x", (rows, 4))

    def copy_in(self, values: np.ndarray) -> None:
        cuda, address, data = self.gpu.cuda, self.addresses["x"], values.tobytes()
        cuda.enqueue(self.stream, lambda: cuda.write(address, data))

    def execute(self) -> bool:
        return self.context.execute_async_v3(self.stream)

    def synchronise(self) -> int:
        return self.gpu.synchronise(self.stream)

    def result(self, rows: int, wide: int = 3) -> np.ndarray:
        """What lies there now."""
        data = self.gpu.cuda.read(self.addresses["y"], rows * wide * 4)
        return np.frombuffer(data, np.float32).reshape(rows, wide)

    def run(self, rows: int, wide: int = 3) -> np.ndarray:
        self.shape(rows)
        self.copy_in(X[:rows])
        assert self.execute()
        assert self.synchronise() == 0
        return self.result(rows, wide)
