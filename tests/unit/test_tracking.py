from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfake_edge.data import Face
from deepfake_edge.errors import InvalidInput
from deepfake_edge.tracking import Tracker


def face(x, y=100.0, size=20.0, score=0.9):
    return Face((x - size / 2, y - size / 2, x + size / 2, y + size / 2), score)


def follow(tracker, moments, fps=12.0):
    return [tracker.update(index, index / fps, faces) for index, faces in enumerate(moments)]


def ids(tracks):
    return {round((t.face.box_xyxy[0] + t.face.box_xyxy[2]) / 2): t.id for t in tracks if t.seen}


def test_a_small_face_that_never_overlaps_itself_is_one_track():
    steps = follow(Tracker(), [[face(20 + 16 * step, size=15)] for step in range(20)])
    assert {track.id for tracks in steps for track in tracks} == {1}


def test_ids_count_from_one_and_are_never_reused():
    steps = follow(Tracker(max_gap_s=0.1), [[face(50)], [], [], [], [face(50)]])
    assert [[track.id for track in tracks] for tracks in steps] == [[1], [1], [], [], [2]]


def test_a_missed_face_is_bridged_by_the_average_of_its_last_boxes():
    tracker = Tracker(bridge_boxes=2)
    steps = follow(tracker, [[face(0)], [face(100, size=40)], [face(104, size=40)], []])
    lost = [track for track in steps[3] if track.id == 2]
    assert [(track.seen, track.face.box_xyxy, track.face.score) for track in lost] == [(False, (82, 80, 122, 120), 0.0)]
    assert lost[0].frame_index == 3


def test_a_face_that_returns_within_the_gap_keeps_its_id():
    steps = follow(Tracker(max_gap_s=0.5), [[face(50)], *[[]] * 5, [face(55)]])
    assert [(track.id, track.seen) for track in steps[6]] == [(1, True)]


def test_a_face_that_returns_after_the_gap_is_new():
    steps = follow(Tracker(max_gap_s=0.5), [[face(50)], *[[]] * 6, [face(55)]])
    assert [track.id for track in steps[7]] == [2]


def test_live_ids_shrink_when_a_track_ends():
    tracker = Tracker(max_gap_s=0.2)
    tracker.update(0, 0.0, [face(0), face(300)])
    assert tracker.live_ids == {1, 2}
    tracker.update(1, 0.15, [face(300)])
    tracker.update(2, 0.3, [face(300)])
    assert len(tracker.live_ids) == 1


def test_no_gap_allowed_ends_a_track_at_once():
    tracker = Tracker(max_gap_s=0.0)
    assert [len(tracks) for tracks in follow(tracker, [[face(0)], [], [face(0)]])] == [1, 0, 1]


@pytest.mark.parametrize("after", [face(400), face(100, size=70), face(100, y=300)])
def test_a_cut_starts_a_new_track(after):
    steps = follow(Tracker(), [[face(100)]] * 3 + [[after]])
    assert [(track.id, track.seen) for track in steps[3]] == [(1, False), (2, True)]


def test_faces_that_pass_each_other_at_different_heights_keep_their_ids():
    moments = [[face(20 + 10 * step, y=100), face(220 - 10 * step, y=125)] for step in range(21)]
    steps = follow(Tracker(), moments, fps=25.0)
    heights = {(track.id, track.face.box_xyxy[1]) for tracks in steps for track in tracks}
    assert len(heights) == 2


def test_a_neighbour_does_not_take_over_the_track_of_a_missed_face():
    steps = follow(Tracker(), [[face(100), face(125)], [face(125)], [face(100), face(125)]])
    assert ids(steps[0]) == ids(steps[2])
    assert ids(steps[1])[125] == ids(steps[0])[125]


def test_two_frames_at_one_moment():
    tracker = Tracker()
    tracker.update(0, 1.0, [face(100)])
    assert [track.seen for track in tracker.update(1, 1.0, [])] == [False]


@pytest.mark.parametrize("time_s", [0.9, math.nan, math.inf, -math.inf])
def test_time_must_not_go_back(time_s):
    tracker = Tracker()
    tracker.update(0, 1.0, [])
    with pytest.raises(InvalidInput, match="time_s"):
        tracker.update(1, time_s, [])


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 5, 5, 0), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)])
def test_a_box_needs_an_area(box):
    with pytest.raises(InvalidInput, match="face: "):
        Tracker().update(0, 0.0, [Face(box, 1.0)])


@pytest.mark.parametrize(("gap_s", "boxes"), [(-1.0, 5), (math.nan, 5), (0.5, 0)])
def test_options_are_checked(gap_s, boxes):
    with pytest.raises(InvalidInput):
        Tracker(gap_s, bridge_boxes=boxes)


def test_memory_is_bounded_by_what_is_alive():
    tracker = Tracker(max_gap_s=0.5)
    for index in range(5000):
        tracker.update(index, index / 25, [face((index * 97) % 1900)])
        assert len(tracker.live_ids) <= 14


FACES = st.builds(
    face,
    x=st.integers(0, 60).map(lambda n: n * 5.0),
    y=st.sampled_from([50.0, 60.0, 150.0]),
    size=st.sampled_from([10.0, 12.0, 30.0]),
    score=st.sampled_from([0.8, 0.9]),
)
STREAMS = st.lists(st.tuples(st.sampled_from([0.0, 0.04, 0.2, 0.7]), st.lists(FACES, max_size=5)), max_size=12)


@settings(deadline=None)
@given(STREAMS, st.randoms(use_true_random=False))
def test_each_face_in_one_track_and_order_changes_nothing(stream, random):
    tracker, shuffled_tracker = Tracker(), Tracker()
    now_s, ended, known = 0.0, set(), set()
    for index, (step_s, faces) in enumerate(stream):
        now_s += step_s
        tracks = tracker.update(index, now_s, faces)
        seen = [track.face for track in tracks if track.seen]
        assert sorted(map(repr, seen)) == sorted(map(repr, faces))
        present = [track.id for track in tracks]
        assert present == sorted(set(present))
        assert set(present) == tracker.live_ids
        assert not ended & set(present)
        assert all(track_id > max(known, default=0) for track_id in set(present) - known)
        known |= set(present)
        ended |= known - tracker.live_ids
        shuffled = random.sample(faces, len(faces))
        assert shuffled_tracker.update(index, now_s, shuffled) == tracks
