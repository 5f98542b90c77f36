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


def window_sizes(model: Any, weights: int) -> dict[str, int] | None:
    """Read `frames` (of a clip model) and `size_px` from a model's input.

    Args:
        model: a Keras model of one input.
        weights: how many arrays of weights the family has.
    Returns:
        None where the model has another number of them, or leaves a size open.
    """
    shape = model.input_shape
    if len(shape) not in (4, 5) or None in shape[1:] or len(model.weights) != weights:
        return None
    size_px = {"size_px": shape[-2]}
    return {"frames": shape[1], **size_px} if len(shape) == 5 else size_px
