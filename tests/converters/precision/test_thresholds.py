"""Thresholds of distributions whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.converters.precision.ranges import BINS
from deepfake_edge.converters.precision.thresholds import entropy, minmax, mse, percentile


def histogram(values, reach=None):
    magnitudes = np.abs(values)
    return np.histogram(magnitudes, bins=BINS, range=(0, magnitudes.max() if reach is None else reach))[0]


@pytest.fixture(scope="module")
def gaussian():
    return np.random.default_rng(3).standard_normal(1_000_000)


def test_minmax_ends_with_the_largest_value():
    counts = np.zeros(BINS, np.int64)
    counts[[0, 17, 2900]] = 1
    assert minmax(counts) == 2901


def test_percentile_leaves_out_one_in_ten_thousand():
    uniform = np.full(BINS, 1000)
    assert percentile(uniform) == pytest.approx(0.9999 * BINS, abs=1.01)
    # 99.99 % of a normal distribution's magnitudes lie within 3.8906.
    counts = histogram(np.random.default_rng(1).standard_normal(4_000_000), reach=8.0)
    assert percentile(counts) * 8.0 / BINS == pytest.approx(3.8906, abs=0.05)


def test_percentile_keeps_a_value_that_is_all_there_is():
    counts = np.zeros(BINS, np.int64)
    counts[-1] = 5
    assert percentile(counts) == BINS


def test_entropy_keeps_what_is_evenly_spread():
    assert entropy(np.full(BINS, 1000)) > 0.97 * BINS


def test_entropy_clips_a_spike_far_out(gaussian):
    spiked = np.concatenate([gaussian, np.full(20, 60.0)])
    reach = 60.0
    kept = entropy(histogram(spiked)) * reach / BINS
    assert minmax(histogram(spiked)) == BINS
    assert 2.5 < kept < 8.0


def test_entropy_clips_little_of_a_gaussian(gaussian):
    largest = np.abs(gaussian).max()
    kept = entropy(histogram(gaussian)) * largest / BINS
    assert 3.0 < kept <= largest


def test_zeros_of_a_relu_do_not_decide(gaussian):
    positive = gaussian[gaussian > 0]
    with_zeros = np.concatenate([positive, np.zeros(5_000_000)])
    assert entropy(histogram(with_zeros)) == pytest.approx(entropy(histogram(positive)), abs=40)


def test_entropy_is_the_formula(gaussian):
    """The divergence of the chosen threshold against one written down bin by bin."""
    counts = histogram(np.concatenate([gaussian[:200_000], np.full(10, 30.0)]))
    counts[0] = counts[1]

    def divergence(bins):
        wanted = [float(count) for count in counts[:bins]]
        wanted[-1] += float(counts[bins:].sum())
        given = [0.0] * bins
        for level in range(128):
            inside = [place for place in range(bins) if place * 128 // bins == level]
            filled = [place for place in inside if wanted[place] > 0]
            for place in filled:
                given[place] = sum(float(counts[other]) for other in inside) / len(filled)
        total, other = sum(wanted), sum(given)
        smoothed = [(1 - 1e-4) * value / other + 1e-4 / bins for value in given]
        return sum(p / total * np.log(p / total / q) for p, q in zip(wanted, smoothed, strict=True) if p > 0)

    chosen = entropy(counts)
    others = [128, 512, 1024, 2048, BINS]
    assert all(divergence(chosen) <= divergence(bins) + 1e-9 for bins in others)
    assert divergence(chosen) < divergence(BINS)


def test_mse_finds_what_quantising_with_every_threshold_finds(gaussian):
    values = np.concatenate([gaussian[:200_000], np.array([40.0])])
    counts = histogram(values)
    step = 40.0 / BINS

    def error(bins: int) -> float:
        scale = bins * step / 127
        return float(((np.clip(np.round(values / scale), -127, 127) * scale - values) ** 2).mean())

    best = min(range(64, BINS + 1, 16), key=error)
    assert error(mse(counts)) <= 1.02 * error(best)
    assert minmax(counts) == BINS


def test_mse_keeps_a_value_that_is_all_there_is():
    counts = np.zeros(BINS, np.int64)
    counts[-1] = 5
    assert mse(counts) == BINS
