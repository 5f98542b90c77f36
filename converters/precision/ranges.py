"""Calibration: what values the tensors of a network take on real face crops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.precision.thresholds import METHODS, Counts
from deepfake_edge.data import Floats, Pixels
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.model import normalise
from deepfake_edge.protocols import Array
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import CropSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.progress import Progress, told

# The largest value of a tensor lies in the upper half of its bins.
BINS = 4096
# Of one tensor and one run about this many values at most enter its histogram, evenly spread; all enter its extremes.
_SAMPLES = 1 << 16
# What a run may give at once. ONNX Runtime holds it a second time while it is handed over.
_FETCHED_BYTES = 256 << 20
_MAX_BATCH = 8


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a tensor that are kept: low <= 0 <= high; what lies outside is clipped."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What the tensors of a network were seen to hold.

    Attributes:
        names: T tensors, in the order in which they are computed.
        low: float32 (T,), the least value of each.
        high: float32 (T,), the largest.
        reach: float32 (T,), where the histogram of each ends.
        counts: int64 (T, BINS), histograms of |x| over 0..reach.
    """

    names: tuple[str, ...]
    low: Floats
    high: Floats
    reach: Floats
    counts: Counts

    def ranges(self, method: str) -> dict[str, Range]:
        """What to keep of each tensor.

        Args:
            method: `minmax`, `percentile` (99.99 % of the magnitudes), `entropy` or `mse`; see `thresholds`.
        Raises:
            InvalidInput: there is no such method.
        """
        if method not in METHODS:
            raise InvalidInput(f"calibration method: wanted one of {', '.join(METHODS)}, got {method!r}")
        return {name: self._range(place, method) for place, name in enumerate(self.names)}

    @property
    def largest(self) -> dict[str, float]:
        """The largest magnitude of each tensor."""
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        return dict(zip(self.names, largest.tolist(), strict=True))

    def _range(self, place: int, method: str) -> Range:
        low, high = min(float(self.low[place]), 0.0), max(float(self.high[place]), 0.0)
        if method == "minmax" or low == high:
            return Range(low, high)
        kept = float(self.reach[place]) * METHODS[method](self.counts[place]) / BINS
        return Range(max(low, -kept), min(high, kept))


def observe(
    graph: bytes,
    crops: Pixels,
    spec: CropSpec,
    windows: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Observed:
    """Run a network in fp32 and look at its input and at what every node gives.

    Args:
        graph: serialised ONNX with one input: crops (batch, 3, S, S), or, with `windows`, (batch, frames, 3 S S).
        crops: uint8 (N, S, S, 3), channels in the spec's order, not normalised; N >= 1.
        spec: how they are normalised.
        windows: int64 (W, frames), indices of crops, for a fused clip network.
        progress: is told now and then how far it is.
    Raises:
        ConversionError: a layer gives numbers that are not finite.
        BundleError, InferenceError: ONNX Runtime refuses the graph, or fails.
    """
    onnx = workshop.onnx()
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(graph))
    makers = {name: f"{node.name or name} ({node.op_type})" for node in model.graph.node for name in node.output}
    given = model.graph.input[0].name
    items = np.arange(len(crops))[:, None] if windows is None else windows
    tallies: dict[str, _Tally] = {given: _Tally("the network's input")}
    chunks = list(_chunks(model, math.prod((*crops.shape[1:], items.shape[1]))))
    for number, chunk in enumerate(chunks, start=1):
        part = f" (part {number} of {len(chunks)})" if len(chunks) > 1 else ""
        batches = [items[at : at + chunk.batch] for at in range(0, len(items), chunk.batch)]
        with closing(OnnxRuntimeNetwork(_giving(model, chunk.tensors), name="calibration")) as network:
            for rows in told(batches, f"calibrating{part}", progress):
                values = normalise(crops[rows.ravel()], spec)
                fed = values if windows is None else values.reshape(*rows.shape, -1)
                if number == 1:
                    tallies[given].add(fed)
                for name, found in network.run({given: fed}).items():
                    if found.dtype == np.float32:
                        tallies.setdefault(name, _Tally(makers[name])).add(found)
    return _observed(tallies)


class _Tally:
    """The extremes and the histogram of one tensor, a batch after another.

    The histogram's end is not known beforehand: when a value lies beyond it, bins are joined two by two until it
    lies within.
    """

    def __init__(self, maker: str) -> None:
        self._maker = maker
        self.low, self.high, self.reach = math.inf, -math.inf, 0.0
        self.counts = np.zeros(BINS, np.int64)

    def add(self, values: Array) -> None:
        low, high = float(values.min()), float(values.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ConversionError(
                f"calibration: {self._maker} gives numbers that are not finite in fp32 on real face crops; "
                "no lower precision can be made of this model"
            )
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._stretch(max(-low, high))
        flat = values.reshape(-1)
        magnitudes = np.abs(flat[:: _step(flat.size)])
        if self.reach > 0:
            magnitudes = magnitudes / np.float32(self.reach) * BINS
        places = np.minimum(magnitudes, BINS - 1).astype(np.intp)
        self.counts += np.bincount(places, minlength=BINS)

    def _stretch(self, largest: float) -> None:
        if self.reach == 0:
            self.reach = largest
        while self.reach < largest:
            self.reach = min(2 * self.reach, float(np.finfo(np.float32).max))
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])


def _step(size: int) -> int:
    """Every how many-th of `size` values is looked at: it divides no axis, or the same columns came every time."""
    step = -(-size // _SAMPLES)
    while math.gcd(step, size) > 1:
        step += 1
    return step


def _observed(tallies: Mapping[str, _Tally]) -> Observed:
    found = tallies.values()
    low, high, reach = (
        np.array([getattr(tally, end) for tally in found], np.float32) for end in ("low", "high", "reach")
    )
    return Observed(tuple(tallies), low, high, reach, np.stack([tally.counts for tally in found]))


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Tensors that are fetched together, and of how many items at once."""

    tensors: Sequence[str]
    batch: int


def _chunks(model: Any, input_numbers: int) -> Iterator[_Chunk]:
    """Node outputs that can hold float32, in chunks of at most `_FETCHED_BYTES`; one of unknown size stands alone."""
    sizes = _sizes(model)
    tensors: list[str] = []
    total = 0
    for node in model.graph.node:
        for name in filter(None, node.output):
            size = sizes.get(name, _FETCHED_BYTES)
            if node.op_type == "Constant" or size == 0:
                continue
            if tensors and total + size > _FETCHED_BYTES:
                yield _Chunk(tensors, _batch(total, input_numbers))
                tensors, total = [], 0
            tensors.append(name)
            total += size
    if tensors:
        yield _Chunk(tensors, _batch(total, input_numbers))


def _batch(fetched: int, input_numbers: int) -> int:
    return max(1, min(_MAX_BATCH, _FETCHED_BYTES // max(fetched, 4 * input_numbers)))


def _sizes(model: Any) -> dict[str, int]:
    """Bytes of each tensor for one item, where its shape is known; 0 of what is not float32."""
    onnx = workshop.onnx()
    single = onnx.ModelProto()
    single.CopyFrom(model)
    del single.graph.value_info[:]
    # Inferred for a batch of one: frames may stand in the batch's axis, or the batch in another than the first.
    single.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for value in single.graph.output:
        value.type.tensor_type.ClearField("shape")
    single = onnx.shape_inference.infer_shapes(single, data_prop=True)
    sizes = {}
    for value in (*single.graph.value_info, *single.graph.output):
        kind = value.type.tensor_type
        sides = [axis.dim_value for axis in kind.shape.dim]
        if kind.elem_type not in (0, onnx.TensorProto.FLOAT):
            sizes[value.name] = 0
        elif kind.HasField("shape") and all(sides):
            sizes[value.name] = 4 * math.prod(sides)
    return sizes


def _giving(model: Any, tensors: Sequence[str]) -> bytes:
    """The same graph with these tensors as its outputs."""
    onnx = workshop.onnx()
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in tensors)
    serialised: bytes = changed.SerializeToString()
    return serialised
