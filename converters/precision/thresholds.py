"""How far a tensor's values are kept when they become 8-bit integers, from a histogram of their magnitudes.

A histogram counts |x| in bins of equal width that begin at 0. A threshold is given as a number of bins: magnitudes
beyond them are clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# Magnitudes that a symmetric 8-bit integer tells apart.
_LEVELS = 128
_PERCENTILE = 0.9999
_STRIDE = 16
# Share of probability spread over all bins, so that a bin that lost its values costs much, but not infinitely much.
_SMOOTHING = 1e-4


def minmax(counts: Counts) -> int:
    """All bins up to the largest value."""
    return int(np.flatnonzero(counts)[-1]) + 1


def percentile(counts: Counts) -> int:
    """The fewest bins that hold 99.99 % of the values."""
    running = np.cumsum(counts)
    return int(np.searchsorted(running, _PERCENTILE * running[-1])) + 1


def entropy(counts: Counts) -> int:
    """The number of bins whose 8-bit form tells least apart from the values: least Kullback-Leibler divergence.

    Migacz, "8-bit Inference with TensorRT", GTC 2017: for each candidate, P is the histogram with all that lies
    beyond added to the last bin; Q is the histogram without it, merged into 128 levels and spread again over the
    bins that held something; the threshold is the candidate with the least sum of P log(P / Q). As in NVIDIA's
    pytorch-quantization the bin at 0, which a ReLU fills, counts as much as its neighbour. Every 16th candidate is
    tried.
    """
    whole = minmax(counts)
    values = counts[:whole].astype(np.float64)
    if whole > 1:
        values[0] = values[1]
    if whole <= _LEVELS or not values.any():
        return whole
    candidates: list[int] = [*range(_LEVELS, whole, _STRIDE), whole]
    return min(candidates, key=lambda bins: _divergence(values, bins))


def _divergence(values: NDArray[np.float64], bins: int) -> float:
    wanted = values[:bins].copy()
    levels = np.arange(bins) * _LEVELS // bins
    wanted[-1] += values[bins:].sum()
    held = wanted > 0
    merged = np.bincount(levels, weights=values[:bins], minlength=_LEVELS)
    sharing = np.bincount(levels, weights=held, minlength=_LEVELS)
    given = np.where(held, (merged / np.maximum(sharing, 1))[levels], 0.0)
    if not given.any():
        return float("inf")
    given = (1 - _SMOOTHING) * given / given.sum() + _SMOOTHING / bins
    wanted = wanted[held] / wanted.sum()
    return float((wanted * np.log(wanted / given[held])).sum())


def mse(counts: Counts) -> int:
    """The number of bins whose 8-bit form has the least mean squared error.

    What is kept is off by a step's width over the root of 12 (Widrow, "Statistical Analysis of Amplitude-Quantized
    Sampled-Data Systems", 1961), what lies beyond by its distance from the last level. Every 16th candidate is tried.
    """
    whole = minmax(counts)
    places = np.arange(whole) + 0.5
    values = counts[:whole].astype(np.float64)
    # Sums over all bins from each on: of the values, of their places, of the squares of these.
    beyond = [np.append(np.cumsum((values * places**power)[::-1])[::-1], 0.0) for power in range(3)]
    candidates = np.array([*range(_STRIDE, whole, _STRIDE), whole])
    clipped = beyond[2] - 2 * np.arange(whole + 1) * beyond[1] + np.arange(whole + 1) ** 2 * beyond[0]
    rounded = (values.sum() - beyond[0][candidates]) * (candidates / (_LEVELS - 1)) ** 2 / 12
    return int(candidates[np.argmin(rounded + clipped[candidates])])


METHODS: Mapping[str, Callable[[Counts], int]] = MappingProxyType(
    {"minmax": minmax, "percentile": percentile, "entropy": entropy, "mse": mse}
)
