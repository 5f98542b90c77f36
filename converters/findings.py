"""What the conversion process finds out about a model, as plain data on its way to the parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Findings:
    """An opened model.

    Attributes:
        measured: size_px, frames and activation, by the model's shape.
        assumed: those of them that the file does not say, with where they came from instead.
        family: the name of the family that it is of; None for none.
        how: how that is known, in words.
        pixels: mean, scale and words, where the model's own first layers say what values go in.
        warnings: what a user should know.
    """

    measured: Mapping[str, Any]
    family: str | None
    how: str
    assumed: Mapping[str, str] = field(default_factory=dict)
    pixels: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
