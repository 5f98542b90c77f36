"""One face for whatever gives scores: a Keras file, or a bundle in any precision on any runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle
from deepfake_edge.data import Floats
from deepfake_edge.golden import load_proven
from deepfake_edge.model import Model
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime
from deepfake_edge.spec import ModelSpec

_BATCH = 16
# Numbers in the crops that a whole clip network is given at once: 64 MiB.
_MOST_NUMBERS = 1 << 24


@dataclass(frozen=True, slots=True)
class Identity:
    """What a set of scores came from.

    Attributes:
        title: unique among the models of one evaluation.
        file: as the user named it.
        sha256: of the file.
        precision: what the networks compute in.
        runtime: what runs them.
        source_sha256: of the model that a bundle was converted from; of a Keras file, its own. None: not known.
    """

    title: str
    file: str
    sha256: str
    precision: str
    runtime: str
    source_sha256: str | None = None


class Predictor(Protocol):
    """Windows of crops in, the model's own outputs out."""

    @property
    def identity(self) -> Identity:
        """What it is."""
        ...

    @property
    def spec(self) -> ModelSpec:
        """What it expects, and what its outputs mean."""
        ...

    def outputs(self, crops: Floats, windows: NDArray[np.int64]) -> Floats:
        """The outputs of windows.

        Args:
            crops: float32 (N, 3, S, S), normalised as the spec says; N from 1.
            windows: int64 (W, frames), which crops make up each window; W from 1.
        Returns:
            float32 (W, C), probabilities, before any temperature.
        Raises:
            InferenceError: it failed, or gave numbers that are not finite.
        """
        ...

    def close(self) -> None:
        """Free it; may be called twice."""
        ...


class BundlePredictor:
    """A bundle at one precision on one runtime; each crop meets the backbone once. Implements `Predictor`."""

    def __init__(self, path: Path, bundle: Bundle, options: RuntimeOptions, title: str) -> None:
        """Load and prove it. Raises as `golden.load_proven` and `runtime_choice.choose_runtime`."""
        runtime = choose_runtime(options, bundle)
        self._model: Model = load_proven(bundle, options.precision, runtime)
        self.spec = bundle.spec
        self.identity = Identity(
            title, str(path), bundle.sha256, self._model.precision, runtime.name, source_of(bundle)
        )

    def outputs(self, crops: Floats, windows: NDArray[np.int64]) -> Floats:
        """See `Predictor.outputs`."""
        model = self._model
        features = np.concatenate([model.features(crops[few]) for few in _batches(len(crops), _BATCH)])
        at_once = min(max(_MOST_NUMBERS // (windows.shape[1] * model.feature_size), 1), _BATCH)
        return np.concatenate([model.outputs(features[windows[few]]) for few in _batches(len(windows), at_once)])

    def close(self) -> None:
        """Free the networks."""
        self._model.close()


def source_of(bundle: Bundle) -> str | None:
    """The sha256 of the model that a bundle was converted from; None where it does not say."""
    found = bundle.provenance.get("source_sha256")
    return found if isinstance(found, str) else None


def _batches(count: int, size: int) -> list[Any]:
    return [slice(start, start + size) for start in range(0, count, size)]
