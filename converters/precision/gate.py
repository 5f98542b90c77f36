"""The parity gate of lower precisions: how far a variant may lie from the source, on crops it was not calibrated on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.parity import Answers, differences, in_figures
from deepfake_edge.converters.reference import Reference
from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import fake_scores
from deepfake_edge.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Gate:
    """What passes; None: of any size.

    Attributes:
        max: largest difference of an output (a probability), of a window or of a frame, from the source's.
        mean: mean difference of the outputs of windows, and of those of frames.
        flips: share of the windows whose label, at the model's threshold, is another than the source's.
    """

    max: float | None
    mean: float | None
    flips: float


GATES: Mapping[str, Gate] = MappingProxyType(
    {"fp16": Gate(max=5e-3, mean=None, flips=0.0), "int8": Gate(max=None, mean=2e-2, flips=5e-3)}
)


def parse_gates(given: Mapping[str, str]) -> dict[str, Gate]:
    """The gates, with what a user sets of them.

    Args:
        given: texts by `PRECISION.LIMIT`, e.g. `{"int8.mean": "0.03"}`; each from 0 to 1.
    Raises:
        InvalidInput: there is no such limit, or it is out of range.
    """
    limits = {name: {"max": gate.max, "mean": gate.mean, "flips": gate.flips} for name, gate in GATES.items()}
    known = [f"{name}.{limit}" for name, gate in limits.items() for limit in gate]
    for key, text in given.items():
        if key not in known:
            raise InvalidInput(f"gate: wanted one of {', '.join(known)}, got {key!r}")
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 <= value <= 1:
            raise InvalidInput(f"gate: {key}: wanted a number from 0 to 1, got {text!r}")
        name, _, limit = key.partition(".")
        limits[name][limit] = value
    return {name: Gate(gate["max"], gate["mean"], gate["flips"] or 0.0) for name, gate in limits.items()}


def measure(found: Answers, truth: Reference, spec: ModelSpec, fused: bool) -> dict[str, Any]:
    """How far a variant's answers lie from the source's, as plain JSON types; the differences are not rounded.

    Labels and ranks are of the crop set's own windows: the golden ones, which come after them, would count twice.

    Raises:
        ConversionError: they are of another kind than the source's.
    """
    own = len(truth.windows) - len(truth.golden.windows)
    ours, theirs = (fake_scores(outputs[:own], spec) for outputs in (found.outputs, truth.outputs))
    flipped = int(((ours >= spec.threshold) != (theirs >= spec.threshold)).sum())
    return {
        "windows": len(theirs),
        **in_figures(differences(found, truth, fused)),
        "flips": flipped,
        "flip_share": round(flipped / len(theirs), 6),
        "rank_agreement": rank_agreement(ours, theirs),
    }


def objections(figures: Mapping[str, Any], gate: Gate) -> Iterator[str]:
    """Where figures of `measure` lie outside a gate, in words."""
    for stage in ("outputs", "frame_outputs"):
        for limit, what in (("max", "largest"), ("mean", "mean")):
            allowed, found = getattr(gate, limit), figures.get(f"{stage}_{limit}_diff", 0.0)
            if allowed is not None and not found <= allowed:
                yield f"{stage}: {what} difference {found:.3g}, allowed {allowed:g}"
    if not figures["flip_share"] <= gate.flips:
        yield (
            f"labels: {figures['flips']} of {figures['windows']} windows flip at the threshold, "
            f"allowed {gate.flips:.3g} of them"
        )


def rank_agreement(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation (Spearman, "The Proof and Measurement of Association between Two Things", 1904) of
    two series of scores; equal scores share the mean of their ranks. None where one of them is all equal."""
    ranks = [_ranks(series) for series in (ours, theirs)]
    if min(series.std() for series in ranks) == 0:
        return None
    return round(float(np.corrcoef(ranks[0], ranks[1])[0, 1]), 6)


def _ranks(series: NDArray[np.float64]) -> NDArray[np.float64]:
    _, places, counts = np.unique(series, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: NDArray[np.float64] = (last - (counts - 1) / 2)[places.reshape(-1)]
    return means
