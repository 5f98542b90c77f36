"""Int8 as Q/DQ pairs in the ONNX itself, by TensorRT's rules of explicit quantisation.

Symmetric: every zero-point is 0, weights have a scale for each output channel and are stored in int8, activations one
scale for all, biases stay float32. One file serves TensorRT and OpenVINO. The unsigned form is for ONNX Runtime's CPU
kernels alone: activations are uint8 with a zero-point (0 after a ReLU), biases int32.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.precision.graph import Graph, attribute
from deepfake_edge.converters.precision.placement import symmetric_places, unsigned_places
from deepfake_edge.converters.precision.ranges import Range
from deepfake_edge.converters.precision.rewriting import rewritten
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training import workshop

Array: TypeAlias = NDArray[Any]

_INT8, _UINT8, _INT32 = 127, 255, 2**31 - 1
# What is always 0 is exact at any scale; this one keeps the numbers up to 1.
_DEAD = 1.0 / _INT8
_LEAST_SCALE = float(np.finfo(np.float32).tiny)


def quantise(
    graph: bytes, thresholds: Mapping[str, Range], layers: Collection[str], *, unsigned: bool = False
) -> bytes:
    """Quantise layers of a prepared graph.

    Args:
        graph: as `prepare` gave it.
        thresholds: the clipping ranges of its values, by name.
        layers: names of the nodes that are computed in int8, of those that `quantisable` offers.
        unsigned: the form for ONNX Runtime on a CPU.
    Returns:
        the serialised model; the names of its nodes are the same, pairs are named after what they quantise.
    Raises:
        InvalidInput: there is no such layer, or the range of a value is missing or not finite.
        ConversionError: the result is not valid ONNX.
    """
    view = Graph.read(graph)
    known = {node.name for node in view.nodes if view.has_weights(node)}
    if not known.issuperset(layers):
        raise InvalidInput(f"layers: wanted layers with weights, got {', '.join(sorted(set(layers) - known)[:5])}")
    view, sources = _subsampled(view, frozenset(layers))
    places = (unsigned_places if unsigned else symmetric_places)(view, layers, sources)
    missing = sorted(set(places.values()) - set(thresholds))
    if missing:
        raise InvalidInput(f"thresholds: the range of {', '.join(missing[:5])} is missing")
    onnx = workshop.onnx()
    writer = _Writer(onnx, view, {name: _quantiser(name, thresholds[name], unsigned) for name in places.values()})
    for node in view.nodes:
        for place in range(len(node.input)):
            if (node.name, place) in places:
                node.input[place] = writer.pair(node.input[place], places[node.name, place])
        if node.name in layers:
            writer.weights(node, places[node.name, 0], unsigned)
        writer.nodes.append(node)
    return writer.written()


@dataclass(frozen=True, slots=True)
class _Quantiser:
    """How a value is quantised: its scale, float32 (), and its zero-point, int8 or uint8 ()."""

    scale: Array
    zero: Array


def _quantiser(name: str, clipped: Range, unsigned: bool) -> _Quantiser:
    if not (math.isfinite(clipped.low) and math.isfinite(clipped.high)):
        raise InvalidInput(f"thresholds: the range of {name} is not finite: {clipped.low}..{clipped.high}")
    low, high = min(clipped.low, 0.0), max(clipped.high, 0.0)
    if not unsigned:
        return _Quantiser(_scales(max(-low, high) / _INT8), np.array(0, np.int8))
    scale = _scales((high - low) / _UINT8)
    return _Quantiser(scale, np.array(np.clip(np.rint(-low / scale), 0, _UINT8), np.uint8))


def _scales(scale: Any) -> Array:
    """Scales that are never 0 nor subnormal."""
    given = np.asarray(scale, np.float64)
    return np.asarray(np.where(given > 0, np.maximum(given, _LEAST_SCALE), _DEAD), np.float32)


@dataclass(slots=True)
class _Writer:
    onnx: Any
    view: Graph
    quantisers: Mapping[str, _Quantiser]
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    pairs: dict[tuple[str, str], str] = field(default_factory=dict)
    _titles: dict[tuple[tuple[int, ...], bytes], str] = field(default_factory=dict)

    def pair(self, value: str, source: str) -> str:
        """The name of a value after quantisation and back with the range of `source`, made when it is first needed."""
        if (value, source) not in self.pairs:
            title = value if value == source else f"{value}/{source}"
            scale, zero = f"{source}/scale", f"{source}/zero_point"
            self.constants |= {scale: self.quantisers[source].scale, zero: self.quantisers[source].zero}
            self._add("QuantizeLinear", [value, scale, zero], f"{title}/quantized")
            self._add("DequantizeLinear", [f"{title}/quantized", scale, zero], f"{title}/dequantized")
            self.pairs[value, source] = f"{title}/dequantized"
        return self.pairs[value, source]

    def weights(self, node: Any, source: str, unsigned: bool) -> None:
        """Store a layer's weights in int8, in the unsigned form its bias in int32."""
        axis = self.view.output_axis(node)
        weights = self.view.constant(node.input[1]).astype(np.float64)
        others = tuple(number for number in range(weights.ndim) if number != axis)
        scales = _scales(np.abs(weights).max(axis=others) / _INT8)
        bias = self.view.constant(node.input[2]) if unsigned and len(node.input) > 2 and node.input[2] else None
        if bias is not None and bias.shape == scales.shape:
            # A bias is counted in steps of both scales: nearly dead channels need larger ones for it to fit.
            step = float(self.quantisers[source].scale)
            scales = np.maximum(scales, (np.abs(bias) / step / (_INT32 // 2)).astype(np.float32))
            node.input[2] = self._stored(f"{node.name}/bias", np.rint(bias / (scales * step)), scales * step, 0)
        shape = [-1 if number == axis else 1 for number in range(weights.ndim)]
        stored = np.clip(np.rint(weights / scales.reshape(shape)), -_INT8, _INT8).astype(np.int8)
        node.input[1] = self._stored(f"{node.name}/weight", stored, scales, axis)

    def _stored(self, title: str, values: Array, scales: Array, axis: int) -> str:
        kept = values if values.dtype == np.int8 else values.astype(np.int32)
        # A fused clip network has the same layers for each of its frames.
        same = (kept.shape, hashlib.sha256(kept.tobytes()).digest())
        names = [self._titles.setdefault(same, f"{title}/quantized"), f"{title}/scale", f"{title}/zero_point"]
        constants = (kept, scales.astype(np.float32), np.zeros(scales.shape, kept.dtype))
        self.constants.update(zip(names, constants, strict=True))
        return self._add("DequantizeLinear", names, f"{title}/dequantized", axis=axis)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def written(self) -> bytes:
        """The whole model."""
        made = [self.onnx.numpy_helper.from_array(values, name) for name, values in self.constants.items()]
        return rewritten(self.view.model, self.nodes, made, "quantised")


def _subsampled(view: Graph, layers: frozenset[str]) -> tuple[Graph, dict[str, str]]:
    """Let 1x1 convolutions with strides read every n-th value and have none.

    It computes the same. OpenVINO (2026.4) moves such strides in front of the DequantizeLinear itself, where its int8
    kernels no longer recognise the convolution.

    Returns:
        the graph, and which value each new one is taken from.
    """
    onnx, nodes, sources = workshop.onnx(), [], {}
    for node in view.nodes:
        strides = attribute(node, "strides", [])
        plain = not any(attribute(node, "pads", [])) and attribute(node, "auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        if node.op_type == "Conv" and node.name in layers and max(strides, default=1) > 1 and plain:
            kernel = view.shapes[node.input[1]][2:]
            value = f"{node.input[0]}/every_{'_'.join(map(str, strides))}"
            if len(kernel) <= 3 and all(side == 1 for side in kernel):
                if value not in sources:
                    sources[value] = node.input[0]
                    sizes = {"kernel_shape": [1] * len(strides), "strides": strides}
                    nodes.append(onnx.helper.make_node("MaxPool", [node.input[0]], [value], name=value, **sizes))
                node.input[0] = value
                (own,) = [item for item in node.attribute if item.name == "strides"]
                own.ints[:] = [1] * len(strides)
        nodes.append(node)
    del view.model.graph.node[:]
    view.model.graph.node.extend(nodes)
    return Graph(view.model), sources
