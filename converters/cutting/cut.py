"""Cuts a model in two: what is computed for each frame alone, and what looks at a window of them.

A clip model that cannot be cut can be taken whole, as one network for all frames of a window: *fused*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_edge.converters.cutting.ending import Ending, read_ending
from deepfake_edge.converters.cutting.framewise import evaluate
from deepfake_edge.converters.cutting.objections import objections
from deepfake_edge.converters.cutting.pixel_range import pixel_range
from deepfake_edge.converters.cutting.plan import make_plan
from deepfake_edge.converters.cutting.steps import Graph, graph_of
from deepfake_edge.errors import ConversionError
from deepfake_edge.training.workshop import tensorflow


@dataclass(frozen=True, slots=True)
class Cut:
    """A model in two parts, as functions on TensorFlow tensors.

    Attributes:
        backbone: float32 (N, S, S, 3) -> features (N, F), or outputs (N, C) of a per-frame model; None when fused.
        head: float32 (B, frames, F) -> outputs (B, C) and, with `frame_outputs`, those of each frame (B, frames, C);
            None for a per-frame model. When fused, F is 3*S*S: each crop as (3, S, S), flattened.
        original: the same cut through Keras's own layers, to compare with; None where there is none.
        frames: crops in a window; 1 for a per-frame model.
        size_px: S.
        features: F, or C for a per-frame model.
        ending: how what the model itself gives becomes what the head gives.
        pixels: what the model's first layers say of its input; see `pixel_range`.
        warnings: what a user should know.
    """

    backbone: Callable[[Any], Any] | None
    head: Callable[[Any], tuple[Any, ...]] | None
    original: Original | None
    frames: int
    size_px: int
    features: int
    ending: Ending
    pixels: Mapping[str, Any] | None
    warnings: tuple[str, ...] = ()

    @property
    def outputs(self) -> int:
        """C: 2 of softmax or 1 of sigmoid."""
        return self.ending.classes

    @property
    def frame_outputs(self) -> bool:
        """Whether the head gives probabilities of each frame as well."""
        return self.ending.frames is not None

    @property
    def activation(self) -> str:
        """What kind they are: softmax or sigmoid."""
        return self.ending.activation


@dataclass(frozen=True, slots=True)
class Original:
    """A clip model's own layers, untouched, with the frames computed once however many windows they are in.

    Attributes:
        frames: float32 (N, S, S, 3) -> what the head reads of each frame: a list of (N, ...).
        window: the same as a list of (B, frames, ...) -> what the head gives.
    """

    frames: Callable[[Any], list[Any]]
    window: Callable[[list[Any]], tuple[Any, ...]]


def cut(
    model: Any, frames: int | None, size_px: int | None, *, fused: bool = False, activation: str | None = None
) -> Cut:
    """Cut a model at the place where frames meet.

    Args:
        model: a Keras model that takes (B, T, S, S, 3), or (B, S, S, 3) for a per-frame model.
        frames: T where the model leaves it open.
        size_px: S where the model leaves it open.
        fused: take a clip model whole.
        activation: what the user says that its outputs are: softmax, sigmoid, or logits, of which probabilities are
            then computed.
    Raises:
        ConversionError: it cannot be cut; carries every reason.
    """
    graph = graph_of(model)
    shape = graph.input_shape
    if len(shape) not in (4, 5) or shape[-1] != 3:
        raise ConversionError(f"wanted an input of (frames, S, S, 3) or (S, S, 3), the model takes {shape[1:]}")
    clip = len(shape) == 5
    side, sizes = _side(shape[-3:-1], size_px)
    length, lengths = _length(shape[1], frames) if clip else (1, [])
    ending, reasons = read_ending(graph, length, activation)
    reasons = [*lengths, *sizes, *objections(graph), *reasons]
    if fused and not clip:
        reasons.append("it is a per-frame model, which has no window to convert whole; leave --fused away")
    if side is None or length is None:
        raise ConversionError(_REFUSAL, reasons)
    pixels = pixel_range(graph)
    if not clip:
        _refuse(reasons)

        def backbone(crops: Any) -> Any:
            return ending.probabilities(evaluate(graph, crops))[0]

        return Cut(backbone, None, None, 1, side, ending.classes, ending, pixels)
    plan, obstacles = make_plan(graph, ending, length)
    if fused:
        _refuse(reasons)
        head, warning = _whole(graph, ending, length, side), _cost(length, needed=bool(obstacles))
        return Cut(None, head, None, length, side, 3 * side * side, ending, pixels, (warning,))
    if obstacles and not reasons:
        work = f"each verdict then runs the whole clip: about {length} times the work"
        raise ConversionError(_REFUSAL, [*obstacles, f"or convert it whole: --fused ({work})"])
    _refuse([*reasons, *obstacles])
    features = sum(piece.size for piece in plan.pieces)
    original = Original(plan.frames_by_keras, plan.window_by_keras)
    return Cut(plan.backbone, plan.head, original, length, side, features, ending, pixels)


_REFUSAL = "this model cannot be cut into a backbone and a head:"


def _refuse(reasons: list[str]) -> None:
    if reasons:
        raise ConversionError(_REFUSAL, reasons)


def _whole(graph: Graph, ending: Ending, frames: int, side: int) -> Callable[[Any], tuple[Any, ...]]:
    def head(window: Any) -> tuple[Any, ...]:
        tf = tensorflow()
        planes = tf.reshape(window, (-1, frames, 3, side, side))
        return ending.probabilities(evaluate(graph, tf.transpose(planes, (0, 1, 3, 4, 2))))

    return head


def _cost(frames: int, *, needed: bool) -> str:
    work = f"fused: each verdict runs the whole clip of {frames} frames"
    if needed:
        return f"{work}, about {frames} times the work of a model that can be cut"
    return f"{work}; this model can be cut: without --fused a verdict takes about a {frames}th of the work"


def _length(found: int | None, wanted: int | None) -> tuple[int | None, list[str]]:
    """Frames of a clip, or None and why."""
    length = found if found is not None else wanted
    if length is None:
        return None, ["the model leaves the number of frames open; give it: --spec frames=N"]
    if length < 2:
        return None, [f"wanted clips of 2 frames or more, or a model of single crops (S, S, 3); got {length}"]
    return length, []


def _side(found: tuple[int | None, ...], wanted: int | None) -> tuple[int | None, list[str]]:
    """Pixels of a crop's side, or None and why."""
    height, width = (axis if axis is not None else wanted for axis in found)
    if height is None:
        return None, ["the model leaves the size of a crop open; give it: --spec size_px=N"]
    if height != width:
        return None, [f"wanted square crops, the model takes {height} x {width}"]
    return height, []
