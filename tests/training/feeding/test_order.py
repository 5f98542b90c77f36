from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.feeding.options import FeedOptions
from deepfake_edge.training.feeding.order import epoch_order, epoch_shares


def order(labels, seed=0, **options):
    return epoch_order(labels, FeedOptions(**options), np.random.default_rng(seed))


def counts(labels, samples):
    return Counter("blend" if sample.blended else labels[sample.clip] for sample in samples)


@given(
    reals=st.integers(1, 9),
    fakes=st.integers(0, 9),
    batch=st.integers(1, 10),
    windows=st.integers(1, 3),
    share=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    balance=st.sampled_from(["sampling", "weights", "none"]),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_an_epoch_holds_what_is_asked_for(reals, fakes, batch, windows, share, balance):
    labels = ["real"] * reals + ["fake"] * fakes
    if share < 1 and not fakes:
        return
    options = {"batch": batch, "windows": windows, "self_blended": share, "balance": balance}
    shares = epoch_shares(labels, FeedOptions(**options))
    samples = order(labels, **options)
    whole = shares.real + shares.fake + shares.blended
    assert len(samples) == -(-whole // batch) * batch
    assert counts(labels, samples[:whole]) == Counter(real=shares.real, fake=shares.fake, blend=shares.blended)
    assert all(labels[sample.clip] == "real" for sample in samples if sample.blended)
    assert shares.blended == round(share * (shares.fake + shares.blended))
    if balance == "sampling":
        assert shares.real == shares.fake + shares.blended
    seen = Counter(sample.clip for sample in samples[:whole] if not sample.blended)
    for label in ("real", "fake"):
        times = [seen[clip] for clip, found in enumerate(labels) if found == label]
        assert not times or max(times) - min(times) <= 1
    draws = Counter((sample.draw, sample.blended, labels[sample.clip]) for sample in samples)
    assert set(draws.values()) == {1}, "two windows of a kind with the same chance"


def test_a_blend_stands_beside_the_window_that_it_is_made_of():
    samples = order(["real"] * 6, self_blended=1.0, batch=4)
    for real, blend in zip(samples[::2], samples[1::2], strict=True):
        assert (real.clip, real.draw, real.blended, blend.blended) == (blend.clip, blend.draw, False, True)


def test_both_classes_are_in_every_batch():
    labels = ["real"] * 3 + ["fake"] * 12
    samples = order(labels, batch=4, self_blended=0.25)
    for first in range(0, len(samples), 4):
        assert sum(labels[sample.clip] == "real" and not sample.blended for sample in samples[first : first + 4]) == 2


def test_every_epoch_is_another_permutation():
    labels = ["real"] * 20 + ["fake"] * 20
    first, same, other = (order(labels, seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other
    assert Counter(sample.clip for sample in first) == Counter(sample.clip for sample in other)


def test_weights_make_both_classes_count_alike():
    labels = ["real"] * 2 + ["fake"] * 8
    options = FeedOptions(balance="weights", batch=1)
    samples = order(labels, balance="weights", batch=1)
    shares = epoch_shares(labels, options)
    weights = {label: shares.weight(label, options) for label in ("real", "fake")}
    assert counts(labels, samples) == Counter(real=2, fake=8)
    assert 2 * weights["real"] == pytest.approx(8 * weights["fake"]) == pytest.approx(5.0)
    assert epoch_shares(labels, FeedOptions(balance="none")).weight("real", FeedOptions(balance="none")) == 1.0


@pytest.mark.parametrize(
    ("labels", "share", "wanted"),
    [(["fake"], 0.0, "no real clip"), (["real"], 0.0, "no fake clip"), (["real"], 0.5, "alone"), ([], 1.0, "no real")],
)
def test_a_missing_label_is_an_error(labels, share, wanted):
    with pytest.raises(InvalidInput, match=wanted):
        order(labels, self_blended=share)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch", 0),
        ("batch", True),
        ("seed", -1),
        ("windows", 0),
        ("self_blended", 1.1),
        ("balance", "both"),
        ("cache_mb", -1),
    ],
)
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(InvalidInput, match=name):
        FeedOptions(**{name: value})
