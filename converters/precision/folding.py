"""Exact rewrites that leave fewer operators: what a runtime would fold itself, were no quantiser in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deepfake_edge.converters.exporting.canonical import constants_of
from deepfake_edge.data import Floats
from deepfake_edge.training import workshop

_MOVES: Mapping[str, Callable[..., Any]] = {
    "Identity": lambda values: values,
    "Reshape": lambda values, shape: values.reshape([d or values.shape[axis] for axis, d in enumerate(shape)]),
    "Squeeze": lambda values, axes=None: np.squeeze(values, None if axes is None else tuple(axes)),
    "Unsqueeze": lambda values, axes: np.expand_dims(values, tuple(axes)),
}
_FACTORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": np.multiply,
    "Sub": np.subtract,
}


def folded(model: Any) -> Any:
    """Fold what can be folded.

    Args:
        model: an onnx ModelProto with inferred shapes, opset 13 or newer; taken over.
    """
    folder = _Folder(workshop.onnx(), model.graph)
    folder.constants_done()
    folder.no_ops_dropped()
    folder.normalisations_written_out()
    folder.factors_folded()
    folder.padding_folded()
    return folder.finished(model)


@dataclass(slots=True)
class _Folder:
    """One graph, on which the rewrites are done one after another."""

    onnx: Any
    graph: Any
    constants: dict[str, Any] = field(init=False)
    shapes: dict[str, list[int]] = field(init=False)
    nodes: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.constants = constants_of(self.graph)
        self.nodes = [node for node in self.graph.node if node.output[0] not in self.constants]
        self.shapes = {
            item.name: [
                axis.dim_value if axis.HasField("dim_value") else -1 for axis in item.type.tensor_type.shape.dim
            ]
            for item in (*self.graph.value_info, *self.graph.input, *self.graph.output)
            if item.type.tensor_type.HasField("shape")
        }

    def constants_done(self) -> None:
        """Do what only moves constants' values about."""
        left = []
        for node in self.nodes:
            known: list[Any] = [self.constants.get(name) for name in node.input]
            attributes = _attributes(self.onnx, node)
            if any(item is None for item in known) or not known:
                left.append(node)
            elif node.op_type in _MOVES and not attributes.get("allowzero"):
                self.constants[node.output[0]] = _MOVES[node.op_type](*known)
            elif node.op_type == "Transpose":
                self.constants[node.output[0]] = np.ascontiguousarray(np.transpose(known[0], attributes.get("perm")))
            else:
                left.append(node)
        self.nodes = left

    def no_ops_dropped(self) -> None:
        """Leave out what gives its input as it is: dropout, reshapes to the shape that is there."""
        for node in list(self.nodes):
            if node.output[0] in self._given or not self._is_no_op(node):
                continue
            for reader in self._readers(node.output[0]):
                reader.input[:] = [node.input[0] if name == node.output[0] else name for name in reader.input]
            self.nodes.remove(node)

    def normalisations_written_out(self) -> None:
        """Make a batch normalisation a factor and a summand for each channel."""
        left = []
        for number, node in enumerate(self.nodes):
            attributes, rank = _attributes(self.onnx, node), len(self.shapes.get(node.input[0], ()))
            statistics = [self.constants.get(name) for name in node.input[1:]]
            standing = node.op_type == "BatchNormalization" and not attributes.get("training_mode") and rank > 1
            if not standing or any(item is None for item in statistics):
                left.append(node)
            else:
                gamma, beta, mean, variance = (np.asarray(item, np.float64) for item in statistics)
                gain = gamma / np.sqrt(variance + attributes.get("epsilon", 1e-5))
                channels = (1, -1) + (1,) * (rank - 2)
                names = [f"folding:{number}:{what}" for what in ("gain", "offset", "scaled")]
                self.constants[names[0]] = gain.reshape(channels).astype(np.float32)
                self.constants[names[1]] = (beta - mean * gain).reshape(channels).astype(np.float32)
                left.append(self.onnx.helper.make_node("Mul", [node.input[0], names[0]], [names[2]]))
                left.append(self.onnx.helper.make_node("Add", [names[2], names[1]], [node.output[0]]))
        self.nodes = left

    def factors_folded(self) -> None:
        """Take constant factors and summands of each channel into the convolution before them."""
        for node in list(self.nodes):
            if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in self.constants:
                continue
            if node.op_type == "ConvTranspose" and _attributes(self.onnx, node).get("group", 1) > 1:
                continue
            while self._factor_folded(node):
                pass

    def _factor_folded(self, node: Any) -> bool:
        reader = self._only_reader(node.output[0])
        if reader is None or reader.op_type not in _FACTORS:
            return False
        place = list(reader.input).index(node.output[0])
        axis = 0 if node.op_type == "Conv" else 1
        weights = np.asarray(self.constants[node.input[1]], np.float64)
        rank, channels = weights.ndim, weights.shape[axis]
        values = _per_channel(self.constants.get(reader.input[1 - place]), rank, channels)
        bias = self.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(channels)
        if values is None or bias is None or (place == 1 and reader.op_type in ("Div", "Sub")):
            return False
        names = [f"folding:{node.output[0]}:{reader.output[0]}:{what}" for what in ("weights", "bias")]
        with np.errstate(all="ignore"):
            if reader.op_type in ("Mul", "Div"):
                along = [-1 if number == axis else 1 for number in range(rank)]
                weights = np.asarray(_FACTORS[reader.op_type](weights, values.reshape(along)), np.float64)
            folded = [weights.astype(np.float32), _FACTORS[reader.op_type](np.asarray(bias), values).astype(np.float32)]
        if not all(np.isfinite(item).all() for item in folded):
            return False
        self.constants.update(zip(names, folded, strict=True))
        node.input[:] = [node.input[0], *names]
        node.output[0] = reader.output[0]
        self.nodes.remove(reader)
        return True

    def padding_folded(self) -> None:
        """Let a convolution pad with zeros itself."""
        for node in list(self.nodes):
            reader = self._only_reader(node.output[0]) if node.op_type == "Pad" else None
            pads = self._zero_pads(node) if reader is not None else None
            if reader is None or reader.op_type != "Conv" or pads is None or reader.input[0] != node.output[0]:
                continue
            own = _attributes(self.onnx, reader)
            if own.get("auto_pad", b"NOTSET") != b"NOTSET":
                continue
            total = [a + b for a, b in zip(own.get("pads", [0] * len(pads)), pads, strict=True)]
            kept = [item for item in reader.attribute if item.name != "pads"]
            del reader.attribute[:]
            reader.attribute.extend([*kept, self.onnx.helper.make_attribute("pads", total)])
            reader.input[0] = node.input[0]
            self.nodes.remove(node)

    def _zero_pads(self, node: Any) -> list[int] | None:
        """How far a padding reaches into the axes after the first two; None when it is no padding with zeros."""
        mode = _attributes(self.onnx, node).get("mode", b"constant")
        pads = self.constants.get(node.input[1])
        value = self.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        if mode != b"constant" or pads is None or value is None or value.any() or len(node.input) > 3:
            return None
        begin, end = np.split(np.asarray(pads), 2)
        if (pads < 0).any() or begin[:2].any() or end[:2].any():
            return None
        return [int(item) for item in (*begin[2:], *end[2:])]

    def finished(self, model: Any) -> Any:
        """The model with the nodes and constants that are left."""
        used = {name for node in self.nodes for name in node.input}
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(
            self.onnx.numpy_helper.from_array(np.asarray(values), name)
            for name, values in self.constants.items()
            if name in used
        )
        return model

    def _is_no_op(self, node: Any) -> bool:
        if node.op_type in ("Identity", "Dropout"):
            return len(node.output) == 1 and len(node.input) == 1
        asked = self.constants.get(node.input[1]) if node.op_type == "Reshape" else None
        before = self.shapes.get(node.input[0], [])
        if asked is None or len(asked) != len(before):
            return False
        unknown = sum(axis == -1 for axis in before)
        same = all(a in (b, 0) or (a == -1 and b == -1) for a, b in zip(asked.tolist(), before, strict=True))
        return same and unknown <= 1

    @property
    def _given(self) -> set[str]:
        return {item.name for item in self.graph.output}

    def _readers(self, name: str) -> list[Any]:
        return [node for node in self.nodes if name in node.input]

    def _only_reader(self, name: str) -> Any | None:
        readers = self._readers(name)
        return readers[0] if len(readers) == 1 and name not in self._given else None


def _attributes(onnx: Any, node: Any) -> dict[str, Any]:
    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def _per_channel(values: Any, rank: int, channels: int) -> Floats | None:
    """A constant as one number for each channel; None when it is not that."""
    if values is None or values.ndim > rank:
        return None
    shape = (1,) * (rank - values.ndim) + values.shape
    if shape[1] not in (1, channels) or any(length != 1 for axis, length in enumerate(shape) if axis != 1):
        return None
    return np.broadcast_to(np.asarray(values, np.float64).reshape(-1), (channels,))
