"""Replays a bundle's golden crops on this machine: does it still say what Keras said?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake_edge.bundle import Golden
from deepfake_edge.model import Model, normalise

# Largest difference of the probabilities that the parity gate of the converter allows, by precision.
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 2e-2}


@dataclass(frozen=True, slots=True)
class Replay:
    """How this machine's runtime compares with Keras on the golden crops.

    Attributes:
        crops: crops that went through the backbone.
        windows: windows that went through the whole model.
        features_max_diff: largest difference of a feature, as a share of the largest feature.
        outputs_max_diff: largest difference of an output (a probability).
        tolerance: the largest `outputs_max_diff` that passes.
    """

    crops: int
    windows: int
    features_max_diff: float
    outputs_max_diff: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the outputs agree within the tolerance."""
        return self.outputs_max_diff <= self.tolerance


def replay(model: Model, golden: Golden) -> Replay:
    """Run the golden crops through a model's own networks.

    Raises:
        InferenceError: a network failed.
    """
    features = np.concatenate([model.features(normalise(crop[None], model.spec.crop)) for crop in golden.crops])
    outputs = np.concatenate([model.outputs(features[window][None]) for window in golden.windows])
    scale = max(float(np.abs(golden.features).max()), 1e-12)
    return Replay(
        crops=len(golden.crops),
        windows=len(golden.windows),
        features_max_diff=float(np.abs(features - golden.features).max()) / scale,
        outputs_max_diff=float(np.abs(outputs - golden.outputs).max()),
        tolerance=TOLERANCE[model.precision],
    )
