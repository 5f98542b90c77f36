"""What a training tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Moment:
    """How far a training is, after a step.

    Attributes:
        stage: as it was asked for, such as `head:5`.
        epoch: of the stage, from 1.
        epochs: of the stage, at most.
        loss: mean of the epoch so far.
        auc: of the validation clips after the last epoch; None before.
        done: steps of the whole run; those of epochs that an early stop left out count.
        total: steps of the whole run, at most.
    """

    stage: str
    epoch: int
    epochs: int
    loss: float
    auc: float | None
    done: int
    total: int


class Report(Protocol):
    """Who is told."""

    def note(self, text: str) -> None:
        """One line that is worth keeping."""

    def step(self, moment: Moment) -> None:
        """After every step."""


class Silence:
    """Nobody is told."""

    def note(self, text: str) -> None:
        """Nothing."""

    def step(self, moment: Moment) -> None:
        """Nothing."""
