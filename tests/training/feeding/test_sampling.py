from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.datasets.entries import ClipEntry
from deepfake_edge.training.feeding.sampling import draw_places, picture_step, spread_places
from deepfake_edge.training.preparing.prepared import PreparedClip

CLIP = PreparedClip(ClipEntry("c.mp4", "real", "train", "d", None, (), "g"), Path("c"), (), (), (), ())


def drawn(seed, count, frames, step=1, strength=0.0):
    return draw_places(np.random.default_rng(seed), count, frames, step, strength)


@given(
    seed=st.integers(0, 99), count=st.integers(1, 40), frames=st.integers(1, 12), step=st.integers(1, 4),
    strength=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)  # fmt: skip
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_window_lies_within_its_clip(seed, count, frames, step, strength):
    places = drawn(seed, count, frames, step, strength)
    assert places.shape == (frames,)
    assert places.min() >= 0
    assert places.max() < count


def test_a_still_window_keeps_the_step_and_starts_anywhere():
    starts = {int(drawn(seed, 20, 4, 3)[0]) for seed in range(300)}
    assert starts == set(range(11))
    assert drawn(0, 20, 4, 3).tolist() == (drawn(0, 20, 4, 3)[0] + 3 * np.arange(4)).tolist()


def test_a_short_clip_is_gone_through_back_and_forth():
    windows = [drawn(seed, 3, 6).tolist() for seed in range(60)]
    assert all(
        abs(later - before) == 1 for places in windows for later, before in zip(places[1:], places, strict=False)
    )
    assert {places[0] for places in windows} == {0, 1, 2}
    assert drawn(0, 1, 4).tolist() == [0, 0, 0, 0]


def test_changed_sampling_repeats_drops_and_changes_its_pace():
    advances = np.concatenate([np.diff(drawn(seed, 400, 12, 4, 1.0)) for seed in range(80)])
    assert np.mean(advances == 0) == pytest.approx(0.1, abs=0.04)
    assert np.mean(advances >= 7) == pytest.approx(0.1, abs=0.04)
    assert {3, 4, 5} <= set(advances.tolist())


def test_crops_lie_as_far_apart_as_the_models():
    def at(fps, count=10):
        return replace(CLIP, times_s=tuple(place / fps for place in range(count)))

    assert picture_step(at(24), ClipSpec(8, 12.0)) == 2
    assert picture_step(at(12), ClipSpec(8, 12.0)) == 1
    assert picture_step(at(3), ClipSpec(8, 12.0)) == 1
    assert picture_step(at(25), ClipSpec(1, None)) == 1
    assert picture_step(at(25, 1), ClipSpec(8, 12.0)) == 1
    assert picture_step(replace(at(25), times_s=(0.5,) * 9), ClipSpec(8, 12.0)) == 1


def test_spread_windows_reach_from_end_to_end():
    assert spread_places(20, 4, 2, 3).tolist() == [[0, 2, 4, 6], [6, 8, 10, 12], [13, 15, 17, 19]]
    assert spread_places(5, 4, 1, 9).tolist() == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert spread_places(3, 5, 1, 4).tolist() == [[0, 1, 2, 1, 0]]
    assert spread_places(9, 1, 1, 3).tolist() == [[0], [4], [8]]
