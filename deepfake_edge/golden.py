"""Replays a bundle's golden crops on this machine: does it still say what was proved when it was converted?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle
from deepfake_edge.data import Floats
from deepfake_edge.errors import InferenceError, InvalidInput
from deepfake_edge.golden_arrays import Golden, Outputs
from deepfake_edge.model import Model, Runtime, fake_scores, normalise
from deepfake_edge.spec import ModelSpec

_Number = TypeVar("_Number", bound=np.generic)
# Log-odds stay finite, and their exponentials.
_LEAST, _MOST_EXPONENT = 1e-12, 700.0
# Largest difference of a probability from what the same networks gave when they were converted, by precision. Of bf16,
# which was not there then, from fp32's: 4.6e-3 was measured on Meso4's published weights, and int8 bounds it.
TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3, "int8": 2e-2, "bf16": 2e-2}


@dataclass(frozen=True, slots=True)
class Replay:
    """How this machine's runtime compares, on the golden crops, with Keras and with the converter's machine.

    Attributes:
        crops: crops that went through the backbone.
        windows: windows that went through the whole model.
        features_max_diff: largest difference of a feature from Keras's, as a share of the largest feature; None for a
            fused clip network, whose features are the crops themselves.
        outputs_max_diff: largest difference of an output (a probability) from Keras's.
        outputs_mean_diff: their mean difference.
        own_max_diff: largest difference of an output from what the same networks gave when they were converted.
        flips: windows with another label, at the spec's threshold, than the same networks gave then. Where the score of
            then lies within the tolerance of the threshold, rounding alone decides: that is no flip.
        tolerance: the largest `own_max_diff` that passes.
    """

    crops: int
    windows: int
    features_max_diff: float | None
    outputs_max_diff: float
    outputs_mean_diff: float
    own_max_diff: float
    flips: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether it says what was proved at the conversion, where it was held against Keras on many more crops."""
        return self.own_max_diff <= self.tolerance and self.flips == 0


def load_proven(bundle: Bundle, precision: str | None, runtime: Runtime) -> Model:
    """Load the networks that give a precision, and replay the golden crops before anyone relies on them.

    That is a backbone pass a golden crop and a head pass a golden window: kernels differ from CPU to CPU, and nobody
    has held bf16 against anything before.

    Args:
        bundle: as it was read.
        precision: one of `bundle.PRECISIONS`; None takes the first that the bundle has.
        runtime: what runs the networks, in that precision.
    Raises:
        InvalidInput: the bundle has no such precision.
        BundleError: a network does not take or give what the spec says.
        InferenceError: a network fails, or does not say what it said when it was converted.
    """
    model = load(bundle, precision, runtime)
    try:
        result = replay(model, bundle)
        if not result.passed:
            raise InferenceError(
                f"{bundle.name}: {model.precision} on {runtime.name} does not say on this machine what it said when it "
                f"was converted: outputs differ by up to {result.own_max_diff:.1e} ({result.tolerance:.0e} passes), "
                f"{result.flips} of {result.windows} labels; take another --precision or --runtime, "
                "and see: deepfake-edge verify"
            )
    except BaseException:
        model.close()
        raise
    return model


def load(bundle: Bundle, precision: str | None, runtime: Runtime) -> Model:
    """`load_proven` without the proof: for those who show the figures."""
    return Model(bundle, bundle.variant_for(precision, runtime.name), runtime.network, precision)


def replay(model: Model, bundle: Bundle, batch: int = 1) -> Replay:
    """Run the golden crops through a model's own networks, `batch` crops or windows at a time.

    Raises:
        InvalidInput: the bundle is a draft, whose variant has not been run.
        InferenceError: a network failed.
    """
    golden, own = bundle.golden, bundle.variants[model.variant].golden
    if own is None:
        raise InvalidInput(f"{bundle.name}: {model.variant} has not been run on the golden crops")
    found = outputs_of(model, golden, batch)
    apart = np.abs(found.outputs - golden.outputs)
    tolerance = TOLERANCE[model.precision]
    return Replay(
        crops=len(golden.crops),
        windows=len(golden.windows),
        features_max_diff=None if model.fused else _share(found.features, golden.features),
        outputs_max_diff=float(apart.max()),
        outputs_mean_diff=float(apart.mean()),
        own_max_diff=float(np.abs(found.outputs - own.outputs).max()),
        flips=int(_flipped(found.outputs, own.outputs, model.spec, tolerance).sum()),
        tolerance=tolerance,
    )


def outputs_of(model: Model, golden: Golden, batch: int = 1) -> Outputs:
    """What a model's own networks give for the golden crops and windows, `batch` of them at a time.

    Raises:
        InferenceError: a network failed.
    """
    crops, windows = _batches(golden.crops, batch), _batches(golden.windows, batch)
    features = np.concatenate([model.features(normalise(some, model.spec.crop)) for some in crops])
    outputs = np.concatenate([model.outputs(features[some]) for some in windows])
    return Outputs(np.zeros((len(features), 0), np.float32) if model.fused else features, outputs)


def _batches(rows: NDArray[_Number], size: int) -> list[NDArray[_Number]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _flipped(found: Floats, wanted: Floats, spec: ModelSpec, tolerance: float) -> NDArray[np.bool_]:
    before, now = fake_scores(wanted, spec), fake_scores(found, spec)
    flipped: NDArray[np.bool_] = (before >= spec.threshold) != (now >= spec.threshold)
    # The tolerance is one of probabilities as the networks give them, before the temperature.
    shown = min(max(spec.threshold, _LEAST), 1.0 - _LEAST)
    log_odds = spec.temperature * math.log(shown / (1.0 - shown))
    threshold = 1.0 / (1.0 + math.exp(min(max(-log_odds, -_MOST_EXPONENT), _MOST_EXPONENT)))
    clear: NDArray[np.bool_] = np.abs(fake_scores(wanted, replace(spec, temperature=1.0)) - threshold) > tolerance
    return np.logical_and(flipped, clear)


def _share(found: Floats, wanted: Floats) -> float:
    return float(np.abs(found - wanted).max()) / max(float(np.abs(wanted).max()), 1e-12)
