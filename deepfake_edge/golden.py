"""Replays a bundle's golden crops on this machine: does it still say what its source said?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.golden_arrays import Golden, Outputs
from deepfake_edge.model import Model, normalise

# Largest difference of the probabilities that the parity gate of the converter allows, by precision.
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 2e-2}


@dataclass(frozen=True, slots=True)
class Replay:
    """How this machine's runtime compares with Keras on the golden crops.

    Attributes:
        crops: crops that went through the backbone.
        windows: windows that went through the whole model.
        features_max_diff: largest difference of a feature, as a share of the largest feature; None for a fused clip
            network, whose features are the crops themselves.
        outputs_max_diff: largest difference of an output (a probability).
        tolerance: the largest `outputs_max_diff` that passes.
    """

    crops: int
    windows: int
    features_max_diff: float | None
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
    found = outputs_of(model, golden)
    return Replay(
        crops=len(golden.crops),
        windows=len(golden.windows),
        features_max_diff=None if model.fused else _share(found.features, golden.features),
        outputs_max_diff=float(np.abs(found.outputs - golden.outputs).max()),
        tolerance=TOLERANCE[model.precision],
    )


def outputs_of(model: Model, golden: Golden) -> Outputs:
    """What a model's own networks give for the golden crops and windows, one at a time as on a device.

    Raises:
        InferenceError: a network failed.
    """
    features = np.concatenate([model.features(normalise(crop[None], model.spec.crop)) for crop in golden.crops])
    outputs = np.concatenate([model.outputs(features[window][None]) for window in golden.windows])
    return Outputs(np.zeros((len(features), 0), np.float32) if model.fused else features, outputs)


def _share(found: Floats, wanted: Floats) -> float:
    return float(np.abs(found - wanted).max()) / max(float(np.abs(wanted).max()), 1e-12)
