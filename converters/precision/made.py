"""What came of lowering the precision."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepfake_edge.bundle import Variant


@dataclass(frozen=True, slots=True)
class Made:
    """Variants of lower precision.

    Attributes:
        variants: those that passed, by name.
        left_out: those that did not, by precision: what the gate has against them.
        notes: what a user should know.
    """

    variants: dict[str, Variant] = field(default_factory=dict)
    left_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
