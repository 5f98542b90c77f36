"""Engines over the doubles of CUDA and TensorRT, and the graph that they are made of."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from deepfake_edge.cuda.device import Device
from deepfake_edge.runtimes.trt import TensorRtNetwork

ROW = (3, 2, 2)
MOST = 6


def exact_graph(inputs: tuple[str, ...] = ("crops",), mirror: int = TensorProto.FLOAT) -> bytes:
    """Rows of small whole numbers in, sums of them out: float32 holds every result exactly, in whatever order.

    Each input is (n, 3, 2, 2), and the outputs are "features" (n, 5) and "mirror" (n, 3, 2, 2) = 1 - 2 * the sum of the
    inputs, which is not zero where a row is.

    Args:
        inputs: their names.
        mirror: the ONNX type of the second output.
    """
    nodes = [helper.make_node("Sum", list(inputs), ["all"])]
    nodes.append(helper.make_node("Flatten", ["all"], ["flat"], axis=1))
    nodes.append(helper.make_node("MatMul", ["flat", "weights"], ["features"]))
    nodes.append(helper.make_node("Mul", ["all", "minus_two"], ["doubled"]))
    nodes.append(helper.make_node("Add", ["doubled", "one"], ["exact"]))
    nodes.append(helper.make_node("Cast", ["exact"], ["mirror"], to=mirror))
    weights = np.random.default_rng(5).integers(-3, 4, (12, 5)).astype(np.float32)
    values = {"weights": weights, "minus_two": np.float32([-2]), "one": np.float32([1])}
    graph = helper.make_graph(
        nodes,
        "exact",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *ROW]) for name in inputs],
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 5]),
            helper.make_tensor_value_info("mirror", mirror, ["n", *ROW]),
        ],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString(deterministic=True)


@functools.cache
def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Small whole numbers, no row like another. They live on: a copy to the device reads them when it runs."""
    return np.random.default_rng((seed, count)).integers(-9, 10, (count, *ROW)).astype(np.float32)


@dataclass
class Engines:
    """Plans by one TensorRT double, networks of them on one device, and what they should give."""

    device: Device
    tensorrt: object
    cuda: object
    networks: list[TensorRtNetwork] = field(default_factory=list)

    def plan(
        self, graph: bytes | None = None, batch: tuple[int, int, int] = (1, 4, MOST), inputs=("crops",), shared=True
    ) -> bytes:
        """A plan as `deepfake-edge build` would make it, without its cache."""
        trt = self.tensorrt.module
        logger = trt.Logger(trt.Logger.ERROR)
        with self.device.current():
            builder = trt.Builder(logger)
            old = hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")
            flags = 1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH) if old else 0
            network = builder.create_network(flags)
            parser = trt.OnnxParser(network, logger)
            assert parser.parse(graph or exact_graph(inputs))
            config = builder.create_builder_config()
            config.clear_flag(trt.BuilderFlag.TF32)
            if shared and hasattr(trt.PreviewFeature, "PROFILE_SHARING_0806"):
                config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
            profile = builder.create_optimization_profile()
            for place in range(network.num_inputs):
                port = network.get_input(place)
                profile.set_shape(port.name, *((size, *tuple(port.shape)[1:]) for size in batch))
            assert config.add_optimization_profile(profile) == 0
            plan = builder.build_serialized_network(network, config)
            assert plan is not None
            return bytes(plan)

    def network(self, plan: bytes | None = None, **options) -> TensorRtNetwork:
        """Closed when the test ends."""
        made = TensorRtNetwork(self.plan() if plan is None else plan, self.device, name="tiny", **options)
        self.networks.append(made)
        return made

    def nothing_is_left(self) -> None:
        """All that networks took is given back; the device itself is still open. What a lost one holds is lost."""
        left = {name: count for name, count in self.cuda.live.items() if count and name != "contexts"}
        assert not left or self.cuda.sticky
        # Without the help of the garbage collector: it frees in any order, from any thread.
        kept = {name: self.tensorrt._library.live[name] for name in ("runtimes", "engines", "contexts")}
        assert not any(kept.values()), kept
