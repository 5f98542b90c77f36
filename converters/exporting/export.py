"""The two parts of a cut model as ONNX."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from deepfake_edge.converters.cutting.cut import Cut
from deepfake_edge.converters.exporting import mends
from deepfake_edge.converters.exporting.canonical import canonical, operators
from deepfake_edge.converters.failures import told
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

# Opset 17 is the newest that TensorRT 8.5 (JetPack 5.1) parses and ONNX Runtime 1.17 runs; it has
# LayerNormalization as one operator and per-channel QuantizeLinear.
OPSET = 17


@dataclass(frozen=True, slots=True)
class Networks:
    """Serialised ONNX, as `bundle.Variant` wants it; at least one of the two."""

    backbone: bytes | None
    head: bytes | None


def export(parts: Cut) -> Networks:
    """Export both parts.

    Raises:
        ConversionError: something in the model has no ONNX counterpart.
    """
    side = parts.size_px
    backbone = head = None
    with _prompt_collection():
        if parts.backbone is not None:
            crops = _Port("crops", (None, side, side, 3), (None, 3, side, side))
            given = _port("outputs" if parts.head is None else "features", parts.features)
            backbone = _export(parts.backbone, crops, given)
        if parts.head is not None:
            outputs = [_port("outputs", parts.outputs)]
            if parts.frame_outputs:
                outputs.append(_port("frame_outputs", parts.frames, parts.outputs))
            head = _export(parts.head, _port("window", parts.frames, parts.features), *outputs)
    return Networks(backbone, head)


def moved_transposes(graph: bytes) -> bool:
    """Whether the first thing that happens to a network's input is still a transposition."""
    model = workshop.onnx().load_from_string(graph)
    name = model.graph.input[0].name
    return any(node.op_type == "Transpose" and name in node.input for node in model.graph.node)


@dataclass(frozen=True, slots=True)
class _Port:
    """A network's input or output: its name, its shape in TensorFlow, its shape in ONNX."""

    name: str
    traced: tuple[int | None, ...]
    shape: tuple[int | None, ...]


def _port(name: str, *axes: int) -> _Port:
    return _Port(name, (None, *axes), (None, *axes))


def _export(function: Callable[[Any], Any], taken: _Port, *given: _Port) -> bytes:
    tf, exporter = workshop.tensorflow(), workshop.tf2onnx()
    signature = [tf.TensorSpec(taken.traced, tf.float32, name=taken.name)]

    def named(value: Any) -> list[Any]:
        outputs = tf.nest.flatten(function(value))
        return [tf.identity(item, name=port.name) for item, port in zip(outputs, given, strict=True)]

    traced = tf.function(named, input_signature=signature, autograph=False)
    nchw = [f"{taken.name}:0"] if taken.traced != taken.shape else None
    with told(f"the exporter fails on the part that gives {given[0].name}"), workshop.quiet(), _inlined():
        model, _ = exporter.convert.from_function(
            traced,
            input_signature=signature,
            opset=OPSET,
            inputs_as_nchw=nchw,
            custom_op_handlers=mends.handlers(),
            custom_rewriter=mends.rewriters(),
        )
        mends.bind(model, traced.get_concrete_function(*signature).graph.captures)
        mends.keep_zeros(model)
        graph = canonical(model, (taken.name, taken.shape), *((port.name, port.shape) for port in given))
    _refuse_loops(graph, given[0].name)
    return graph


@contextmanager
def _inlined() -> Iterator[None]:
    """Trace functions that Keras compiles apart (grouped convolutions, for XLA) as plain parts of the graph.

    The exporter knows no calls of functions.
    """
    config = workshop.tensorflow().config
    before = config.functions_run_eagerly()
    config.run_functions_eagerly(True)
    try:
        yield
    finally:
        config.run_functions_eagerly(before)


@contextmanager
def _prompt_collection() -> Iterator[None]:
    """Collect garbage often, looking at new objects only.

    Each of the exporter's dozen passes leaves a copy of all weights behind in a cycle of references, and so few
    objects that Python waits with collecting them: Xception's 83 MB became 5 GB.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(2000, 2, 2)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        gc.collect()


def _refuse_loops(graph: bytes, part: str) -> None:
    """Nothing that loops, branches or keeps a state of its own: TensorRT and the bundle reader take none of it."""
    found = sorted(set(operators(graph)) & {"Loop", "Scan", "If", "LSTM", "GRU", "RNN"})
    if found:
        raise ConversionError(f"the part that gives {part} still holds {', '.join(found)} after export")
