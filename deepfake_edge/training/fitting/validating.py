"""How well a model does on clips that it does not learn from."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.model import fake_scores
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.evaluating.metrics import Judged, measure
from deepfake_edge.training.feeding.still_feed import StillFeed
from deepfake_edge.training.fitting.stepping import Stepper


@dataclass(frozen=True, slots=True)
class Validation:
    """Figures of one epoch.

    Attributes:
        loss: mean over the windows, of the model's first output.
        auc: over the clips, whose score is the mean of their windows'.
        accuracy: over the clips, at the spec's threshold.
    """

    loss: float
    auc: float
    accuracy: float


def validate(stepper: Stepper, feed: StillFeed, spec: ModelSpec) -> Validation | None:
    """Look at every window of a feed that has real and fake clips.

    Returns:
        None where the model gives numbers that are not finite.
    Raises:
        SourceError: a picture cannot be read.
    """
    losses: list[Floats] = []
    outputs: list[Floats] = []
    with feed.typed_errors():
        for inputs, labels, _ in feed.dataset().as_numpy_iterator():
            outputs.append(stepper.look(inputs))
            losses.append(stepper.losses(labels, outputs[-1]))
    if not np.isfinite(np.concatenate(outputs)).all():
        return None
    scores: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for window, score in zip(feed.windows, fake_scores(np.concatenate(outputs), spec), strict=True):
        scores[window.name, window.label == "fake"].append(float(score))
    fakes = np.asarray([fake for _, fake in scores])
    figures, _ = measure(Judged.once(fakes, np.asarray([np.mean(each) for each in scores.values()])), spec.threshold)
    auc, accuracy = figures["auc"], figures["accuracy"]
    assert auc is not None
    assert accuracy is not None
    return Validation(float(np.concatenate(losses).mean()), auc, accuracy)
