"""Runs that take a second, and how to look at what they left."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np

from deepfake_edge.training import workshop
from deepfake_edge.training.feeding.options import Augmentation, FeedOptions
from deepfake_edge.training.fitting import Stage, TrainOptions

CNN = "cnn:size_px=32,filters=4"
# Of an epoch of two steps: two windows of each of the four clips.
PLAIN = FeedOptions(batch=4, windows=2, augment=Augmentation.none())


def options(family: str = CNN, *stages: str, **changes) -> TrainOptions:
    """Options of a run; `stages` as `kind:epochs`, two epochs of everything by default."""
    parsed = [stage.split(":") for stage in stages or ("all:2",)]
    listed = tuple(Stage(kind, int(epochs)) for kind, epochs in parsed)
    return TrainOptions(family, **{"stages": listed, "feed": PLAIN, "patience": None, **changes})


def fed(**changes) -> FeedOptions:
    """The feed of such a run, changed."""
    return replace(PLAIN, **changes)


def weights(run) -> list[np.ndarray]:
    """Of a run's best model."""
    with workshop.quiet():
        return workshop.keras().saving.load_model(run / "best.keras", compile=False).get_weights()


def history(run) -> list[dict[str, str]]:
    """Its rows, without the time that they took."""
    with (run / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["spent_s"]
    return rows


class Told:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.notes, self.moments = [], []

    def note(self, text):
        self.notes.append(text)

    def step(self, moment):
        self.moments.append(moment)


class Death(BaseException):
    """As a kill: nothing catches it, nothing is tidied up."""


class Killer(Told):
    """Ends a run after a number of steps, as `end` does."""

    def __init__(self, steps, end=None) -> None:
        super().__init__()
        self.left, self.end = steps, end

    def step(self, moment):
        super().step(moment)
        self.left -= 1
        if self.left == 0:
            if self.end is None:
                raise Death
            self.end()
