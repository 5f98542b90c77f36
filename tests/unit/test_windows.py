"""Windows are cut by time: whatever the source's frame rate, the same seconds go in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_edge.spec import ClipSpec
from deepfake_edge.windows import WindowRing


def play(clip: ClipSpec, times: list[float]) -> list[tuple[list[float], float, float]]:
    """Push every wanted frame with its time as its only feature; return the windows that came due."""
    ring, windows = WindowRing(clip, 1), []
    for time_s in times:
        if not ring.wants(time_s):
            continue
        ring.push(time_s, np.array([time_s], np.float32))
        window = ring.due()
        if window is not None:
            windows.append((window.features[:, 0].tolist(), window.start_s, window.end_s))
    return windows


def at(fps: float, count: int, start: float = 0.0) -> list[float]:
    return [start + index / fps for index in range(count)]


def test_a_source_at_the_sampling_rate_gives_consecutive_frames():
    windows = play(ClipSpec(4, 25.0), at(25, 6))
    for index, (features, start_s, end_s) in enumerate(windows):
        assert features == pytest.approx([(index + step) / 25 for step in range(4)])
        assert (start_s, end_s) == pytest.approx((index / 25, (index + 3) / 25))
    assert len(windows) == 3


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_faster_source_is_thinned_evenly(factor):
    windows = play(ClipSpec(4, 10.0), at(10 * factor, 4 * factor))
    assert windows[0][0] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_a_slower_source_holds_its_frames():
    windows = play(ClipSpec(4, 20.0), at(10, 4))
    assert windows[0][0] == pytest.approx([0.0, 0.1, 0.1, 0.2])


def test_a_held_window_spans_the_right_time():
    (first, *_) = play(ClipSpec(30, 30.0), at(12, 40))
    assert first[2] - first[1] == pytest.approx(29 / 30, abs=1 / 12)


def test_jitter_does_not_lose_or_double_a_frame():
    jittered = [time_s + (0.2 / 25) * (-1) ** index for index, time_s in enumerate(at(25, 9))]
    (window, *_) = play(ClipSpec(9, 25.0), jittered)
    assert window[0] == pytest.approx(jittered)


def test_stride_spaces_the_windows():
    windows = play(ClipSpec(4, 10.0, stride=3), at(10, 13))
    assert [round(window[2], 3) for window in windows] == [0.3, 0.6, 0.9, 1.2]


def test_a_hole_starts_the_window_anew():
    times = at(10, 3) + at(10, 4, start=5.0)
    windows = play(ClipSpec(4, 10.0), times)
    assert len(windows) == 1
    assert windows[0][1] == 5.0


def test_a_hole_is_not_bridged_by_a_stride_either():
    windows = play(ClipSpec(2, 10.0, stride=50), at(10, 2) + at(10, 2, start=9.0))
    assert [window[1] for window in windows] == [0.0, 9.0]


def test_every_frame_counts_without_a_sampling_rate():
    windows = play(ClipSpec(1), [0.0, 0.001, 0.001, 9.0])
    assert [window[1] for window in windows] == [0.0, 0.001, 0.001, 9.0]


@pytest.mark.parametrize(("seen", "scored"), [(4, True), (3, False), (0, False)])
def test_a_window_that_mostly_missed_its_face_is_not_given_out(seen, scored):
    ring = WindowRing(ClipSpec(8, 10.0), 1)
    for index in range(8):
        ring.push(index / 10, np.zeros(1, np.float32), seen=index < seen)
    assert (ring.due() is not None) == scored


@given(
    st.lists(st.one_of(st.floats(0.001, 0.3), st.floats(0.3, 3.0)), min_size=1, max_size=200),
    st.integers(1, 12),
    st.floats(1.0, 60.0),
    st.integers(1, 5),
)
def test_windows_are_full_in_order_and_never_span_a_hole(steps, frames, fps, stride):
    times = np.cumsum(steps).tolist()
    previous_end = -1.0
    for features, start_s, end_s in play(ClipSpec(frames, fps, stride), times):
        assert len(features) == frames
        assert features == sorted(features)
        assert start_s <= end_s
        assert end_s > previous_end
        assert np.diff(features).max(initial=0.0) <= 0.5 + 2 / fps
        previous_end = end_s


def test_a_window_stands_until_the_next_is_overdue():
    ring = WindowRing(ClipSpec(frames=2, sample_fps=10.0, stride=3), 1)
    assert not ring.stands(0.0)
    for index in range(2):
        ring.push(index / 10, np.zeros(1, np.float32))
    assert not ring.stands(0.1)
    assert ring.due() is not None
    # The next is due 3 slots later, at 0.4 s, and overdue by more than half a second from 1.0 s on.
    assert [ring.stands(time_s) for time_s in (0.1, 0.4, 0.9, 1.0)] == [True, True, True, False]


def test_nothing_stands_after_a_hole():
    ring = WindowRing(ClipSpec(frames=1, sample_fps=0.5), 1)
    ring.push(0.0, np.zeros(1, np.float32))
    assert ring.due() is not None
    assert ring.stands(1.0)
    ring.push(4.0, np.zeros(1, np.float32))
    assert not ring.stands(4.0)
