"""What a family of architectures is, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_edge.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Family:
    """An architecture with the conventions that its weights were trained under.

    Attributes:
        name: what `--family` calls it.
        spec: what its weights expect; the classes are its authors' order.
        build: makes the Keras model, untrained; its size arguments have the spec's sizes as defaults.
        sizes: reads from a Keras model the size arguments that `build` would need to give the same structure;
            None where the model is plainly another. A cheap look, not a proof.
    """

    name: str
    spec: ModelSpec
    build: Callable[..., Any]
    sizes: Callable[[Any], Mapping[str, int] | None]
