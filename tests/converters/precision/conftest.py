"""Small networks of the shapes that quantisers trip over, written by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from deepfake_edge.converters.precision.graph import Graph
from deepfake_edge.converters.precision.ranges import Range
from deepfake_edge.errors import MissingDependency
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training import workshop

SIDE = 12


class Net:
    """Writes a network of crops (batch, 3, SIDE, SIDE), an operator after another, each named after its output."""

    def __init__(self, seed: int = 0) -> None:
        self.onnx = workshop.onnx()
        self.random = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def weight(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        kept = array.astype(np.float32) if array.dtype == np.float64 else array
        self.weights.append(self.onnx.numpy_helper.from_array(kept, name))
        return name

    def add(self, kind: str, output: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def conv(self, output: str, taken: str, shape: Sequence[int], kind: str = "Conv", **attributes: Any) -> str:
        """Weights (out, in / group, ...) of unequal channels; padded to the same size unless told otherwise."""
        outputs = shape[1] if kind == "ConvTranspose" else shape[0]
        spread = self.random.uniform(0.2, 3, outputs)
        along = [outputs if axis == (kind == "ConvTranspose") else 1 for axis in range(len(shape))]
        values = self.random.standard_normal(shape) * spread.reshape(along) / np.sqrt(np.prod(shape[1:]))
        weight = self.weight(f"{output}.w", values)
        bias = self.weight(f"{output}.b", self.random.standard_normal(outputs) * 0.1)
        attributes.setdefault("pads", [side // 2 for side in shape[2:]] * 2)
        return self.add(kind, output, taken, weight, bias, **attributes)

    def ending(self, taken: str, channels: int) -> str:
        """What stands after the last convolution: pooling, a product, the output."""
        pooled = self.add("Flatten", "flat", self.add("GlobalAveragePool", "pooled", taken))
        dense = self.weight("dense.w", self.random.standard_normal((channels, 4)))
        return self.add("MatMul", "outputs", pooled, dense)

    def bytes(self, shape: Sequence[int | None] = (None, 3, SIDE, SIDE), opset: int = 17, rank: int = 2) -> bytes:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        taken = helper.make_tensor_value_info("crops", kind, list(shape))
        given = helper.make_tensor_value_info("outputs", kind, [None] * rank)
        graph = helper.make_graph(self.nodes, "net", [taken], [given], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        self.onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())


def plain(net: Net) -> bytes:
    net.add("Relu", "r", net.conv("a", "crops", (8, 3, 3, 3)))
    return net.ending(net.add("Relu", "s", net.conv("b", "r", (6, 8, 3, 3))), 6) and net.bytes()


def residual(net: Net) -> bytes:
    """A block as in ResNet with a strided projection, and one as in Xception with the shortcut untouched."""
    net.add("Relu", "r0", net.conv("a", "crops", (8, 3, 3, 3)))
    net.add("Relu", "r1", net.conv("b", "r0", (8, 8, 1, 1), strides=[2, 2]))
    net.conv("c", "r1", (8, 8, 3, 3))
    net.conv("shortcut", "r0", (8, 8, 1, 1), strides=[2, 2])
    net.add("Add", "sum1", "c", "shortcut")
    net.add("Relu", "r2", "sum1")
    net.conv("d", net.conv("depthwise", "r2", (8, 1, 3, 3), group=8), (8, 8, 1, 1))
    net.add("Add", "sum2", "d", "sum1")
    net.add("Relu", "r3", "sum2")
    net.conv("e", "r3", (6, 8, 3, 3))
    net.ending("e", 6)
    return net.bytes()


def pooled_residual(net: Net) -> bytes:
    """Max pooling in one branch, a strided convolution in the other, the input of which is read once."""
    net.conv("a", "crops", (8, 3, 3, 3))
    net.add("Add", "sum0", "a", net.conv("a2", "crops", (8, 3, 1, 1)))
    net.add("Relu", "r0", "sum0")
    net.add("MaxPool", "p", net.conv("b", "r0", (8, 8, 3, 3)), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    net.conv("shortcut", "sum0", (8, 8, 1, 1), strides=[2, 2])
    net.add("Add", "sum1", "p", "shortcut")
    net.conv("c", "sum1", (6, 8, 3, 3))
    net.ending("c", 6)
    return net.bytes()


def shared_branch(net: Net) -> bytes:
    """A sum of two convolutions, of which others read the one, then the other."""
    net.add("Relu", "r0", net.conv("a", "crops", (8, 3, 3, 3)))
    for number, order in enumerate((("left", "right"), ("right", "left"))):
        left, right, total = (f"{name}{number}" for name in ("left", "right", "sum"))
        net.conv(left, "r0", (8, 8, 1, 1))
        net.conv(right, "r0", (8, 8, 3, 3))
        net.add("Add", total, *(f"{name}{number}" for name in order))
        net.conv(f"on{number}", (right, left)[number], (8, 8, 1, 1))
        net.add("Concat", f"both{number}", total, f"on{number}", axis=1)
    net.add("Concat", "all", "both0", "both1", axis=1)
    net.conv("e", "all", (6, 32, 1, 1))
    net.ending("e", 6)
    return net.bytes()


def concat(net: Net) -> bytes:
    net.add("Relu", "r0", net.conv("a", "crops", (4, 3, 3, 3)))
    net.add("Relu", "r1", net.conv("b", "r0", (4, 2, 3, 3), group=2))
    net.add("Relu", "r2", net.conv("c", "r0", (4, 4, 1, 1)))
    net.add("Concat", "joined", "r1", "r2", axis=1)
    net.add("MaxPool", "p", "joined", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("d", "p", (6, 8, 3, 3))
    net.ending("d", 6)
    return net.bytes()


def transposed(net: Net) -> bytes:
    net.add("Relu", "r0", net.conv("a", "crops", (6, 3, 3, 3)))
    net.conv("up", "r0", (6, 5, 2, 2), kind="ConvTranspose", strides=[2, 2], pads=[0, 0, 0, 0])
    net.conv("b", "up", (6, 5, 3, 3))
    net.ending("b", 6)
    return net.bytes()


def tokens(net: Net) -> bytes:
    """A transformer's feed-forward layer on patches, and a squeeze-and-excitation before it."""
    net.add("Relu", "r0", net.conv("a", "crops", (8, 3, 4, 4), strides=[4, 4], pads=[0, 0, 0, 0]))
    net.conv("squeeze", net.add("GlobalAveragePool", "mean", "r0"), (8, 8, 1, 1))
    net.add("Mul", "gated", "r0", net.add("Sigmoid", "gate", "squeeze"))
    net.add("Reshape", "rows", "gated", net.weight("shape", np.array([0, 8, -1])))
    net.add("Transpose", "patches", "rows", perm=[0, 2, 1])
    net.add("MatMul", "wide", "patches", net.weight("wide.w", net.random.standard_normal((8, 16)) / 3))
    net.add("Relu", "r1", "wide")
    net.add("MatMul", "narrow", "r1", net.weight("narrow.w", net.random.standard_normal((16, 8)) / 4))
    net.add("Add", "sum", "narrow", "patches")
    net.add("ReduceMean", "means", "sum", axes=[1], keepdims=0)
    net.add("MatMul", "outputs", "means", net.weight("last.w", net.random.standard_normal((8, 4))))
    return net.bytes()


def shuffled(net: Net) -> bytes:
    """Channels change places as in ShuffleNet, in shapes that are computed from the size of the batch."""
    net.add("Relu", "r0", net.conv("a", "crops", (8, 3, 3, 3)))
    net.add("Gather", "batch", net.add("Shape", "shape", "r0"), net.weight("first", np.array([0])), axis=0)
    net.add("Concat", "apart", "batch", net.weight("groups", np.array([2, 4, SIDE, SIDE])), axis=0)
    net.add("Concat", "together", "batch", net.weight("channels", np.array([8, SIDE, SIDE])), axis=0)
    net.add("Transpose", "swapped", net.add("Reshape", "grouped", "r0", "apart"), perm=[0, 2, 1, 3, 4])
    net.conv("b", net.add("Reshape", "mixed", "swapped", "together"), (6, 8, 3, 3))
    net.ending("b", 6)
    return net.bytes()


def over_time(net: Net) -> bytes:
    """Three-dimensional convolutions."""
    net.add("Relu", "r0", net.conv("a", "crops", (4, 3, 3, 3, 3)))
    net.conv("b", "r0", (6, 4, 3, 3, 3))
    net.ending("b", 6)
    return net.bytes(shape=(None, 3, 4, SIDE, SIDE))


_ALL = (plain, residual, pooled_residual, shared_branch, concat, transposed, tokens, shuffled, over_time)
NETS: dict[str, Callable[[Net], bytes]] = {item.__name__: item for item in _ALL}


@pytest.fixture(scope="session")
def new_net() -> Callable[..., Net]:
    try:
        workshop.onnx()
    except MissingDependency as error:
        pytest.skip(str(error))
    return Net


@pytest.fixture(scope="session", params=sorted(NETS))
def network(request, new_net) -> bytes:
    """Each of the small networks in turn."""
    return NETS[request.param](new_net())


@pytest.fixture(scope="session")
def networks(new_net) -> Callable[[str], bytes]:
    return lambda name: NETS[name](new_net())


def noise(network: OnnxRuntimeNetwork) -> Any:
    """Eight random items for a network's one input."""
    shape = (8, *(axis or 1 for axis in network.inputs[0].shape[1:]))
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Run a network, on random crops unless others are given, without an optimiser unless told: its first output."""

    def first(graph: bytes, crops: Any = None, optimise: bool = False) -> Any:
        network = OnnxRuntimeNetwork(graph, name="net", optimise=optimise)
        fed = noise(network) if crops is None else crops
        return next(iter(network.run({network.inputs[0].name: fed}).values()))

    return first


@pytest.fixture(scope="session")
def run_openvino() -> Callable[..., Any]:
    """The same on OpenVINO."""
    openvino = pytest.importorskip("openvino", reason="needs openvino")

    def first(graph: bytes, crops: Any = None) -> Any:
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return compiled(noise(OnnxRuntimeNetwork(graph, name="net")) if crops is None else crops)[0]

    return first


@pytest.fixture(scope="session")
def extremes() -> Callable[..., dict[str, Range]]:
    """The least and largest values of everything in a prepared graph, on the crops that `run` takes."""

    def measured(graph: bytes, crops: Any = None) -> dict[str, Range]:
        model = Graph.read(graph).model
        given = {item.name for item in model.graph.output}
        kind = workshop.onnx().TensorProto.FLOAT
        for item in model.graph.value_info:
            if item.name not in given and item.type.tensor_type.elem_type == kind:
                model.graph.output.append(item)
        network = OnnxRuntimeNetwork(model.SerializeToString(), name="net")
        fed = noise(network) if crops is None else crops
        values = network.run({network.inputs[0].name: fed}) | {network.inputs[0].name: fed}
        return {name: Range(float(item.min()), float(item.max())) for name, item in values.items()}

    return measured
