"""What a family of architectures is, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from deepfake_edge.spec import ModelSpec

Sizes: TypeAlias = Mapping[str, int | str]


@dataclass(frozen=True, slots=True)
class Family:
    """An architecture with the conventions that its weights were trained under.

    Attributes:
        name: what `--family` calls it.
        spec: what its weights expect; the classes are its authors' order, or ours where they published none.
        build: makes the Keras model, untrained; its size arguments have the spec's sizes as defaults.
        sizes: reads from a Keras model the size arguments that `build` would need to give the same structure;
            None where the model is plainly another. A cheap look, not a proof.
    """

    name: str
    spec: ModelSpec
    build: Callable[..., Any]
    sizes: Callable[[Any], Sizes | None]


def clip_sizes(model: Any, weights: int) -> dict[str, int] | None:
    """Read `frames`, `size_px` and `units` of a clip model with one LSTM or GRU, in one direction or both.

    Args:
        model: a Keras model of one input.
        weights: how many arrays of weights the family has.
    Returns:
        None where the model has another number of them, leaves a size open, or is of another kind.
    """
    shape = model.input_shape
    found = recurrent(model)
    if found is None or len(shape) != 5 or None in shape[1:] or len(model.weights) != weights:
        return None
    return {"frames": shape[1], "size_px": shape[2], "units": getattr(found, "forward_layer", found).units}


def picture_sizes(model: Any, weights: int) -> dict[str, int] | None:
    """Read `size_px` of a per-frame model; otherwise as `clip_sizes`."""
    shape = model.input_shape
    return {"size_px": shape[1]} if len(shape) == 4 and shape[1] and len(model.weights) == weights else None


def recurrent(model: Any) -> Any | None:
    """The first LSTM, GRU or Bidirectional among a model's own layers."""
    return next((layer for layer in model.layers if type(layer).__name__ in _RECURRENT), None)


_RECURRENT = ("LSTM", "GRU", "Bidirectional")
