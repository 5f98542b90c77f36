"""The rule by which scores become a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_edge.data import Face, Score, Track
from deepfake_edge.verdict import Ledger, Reading
from fakes import bright_means_fake

PER_FRAME = bright_means_fake().spec
CLIP = bright_means_fake(frames=30, sample_fps=30.0).spec


def ledger(spec, tracks: dict[int, list[tuple[float, float]]], history=None) -> Ledger:
    """Tracks as lists of (time, score)."""
    book = Ledger(spec.threshold, spec.clip, history)
    for key, scores in tracks.items():
        for time_s, score in scores:
            book.saw(Track(key, Face((0, 0, 9, 9), 1.0), 0), time_s)
            book.add(Score(key, time_s, time_s, score))
    return book


def steady(score: float, seconds: float, fps: float = 25.0) -> list[tuple[float, float]]:
    return [(index / fps, score) for index in range(round(seconds * fps) + 1)]


def test_no_face_is_no_verdict():
    verdict = ledger(PER_FRAME, {}).verdict(Reading(frames_read=100))
    assert (verdict.label, verdict.fake_score, verdict.reason) == ("insufficient_evidence", None, "no face was found")


def test_the_highest_track_decides():
    verdict = ledger(PER_FRAME, {1: steady(0.1, 2), 2: steady(0.9, 2), 3: steady(0.3, 2)}).verdict(Reading())
    assert (verdict.label, verdict.fake_score) == ("fake", pytest.approx(0.9))


def test_a_track_is_the_mean_of_its_windows():
    verdict = ledger(PER_FRAME, {1: [(0.0, 0.0), (0.5, 0.5), (1.0, 0.4)]}).verdict(Reading())
    assert verdict.fake_score == pytest.approx(0.3)
    assert verdict.label == "real"


@pytest.mark.parametrize(("score", "label"), [(0.5, "fake"), (0.499, "real"), (0.0, "real"), (1.0, "fake")])
def test_the_threshold_itself_is_fake(score, label):
    assert ledger(PER_FRAME, {1: steady(score, 1)}).verdict(Reading()).label == label


def test_a_threshold_of_zero_is_a_threshold():
    spec = replace(PER_FRAME, threshold=0.0)
    assert ledger(spec, {1: steady(0.0, 1)}).verdict(Reading()).label == "fake"


def test_a_brief_track_decides_nothing_but_is_listed():
    verdict = ledger(PER_FRAME, {1: steady(0.1, 2), 2: steady(0.99, 0.3)}).verdict(Reading())
    assert (verdict.label, verdict.fake_score) == ("real", pytest.approx(0.1))
    brief = verdict.tracks[1]
    assert brief.fake_score is None
    assert "at least 0.5 s" in brief.reason
    assert len(brief.scores) > 0


def test_half_a_second_is_enough_at_12_frames_a_second():
    times = [(index / 12, 0.7) for index in range(7)]
    assert ledger(PER_FRAME, {1: times}).verdict(Reading()).label == "fake"


def test_two_crops_half_a_second_apart_are_not_enough():
    verdict = ledger(PER_FRAME, {1: [(0.0, 0.9), (0.5, 0.9)]}).verdict(Reading())
    assert verdict.label == "insufficient_evidence"
    assert "3 crops are needed" in verdict.reason


@pytest.mark.parametrize(("every", "label"), [(2, "fake"), (3, "insufficient_evidence")])
def test_a_face_that_is_mostly_missed_decides_nothing(every, label):
    book = Ledger(PER_FRAME.threshold, PER_FRAME.clip)
    for index in range(61):
        seen = index % every == 0
        book.saw(Track(1, Face((0, 0, 9, 9), 1.0), index, seen), index / 25)
        if seen:
            book.add(Score(1, index / 25, index / 25, 0.9))
    assert book.verdict(Reading()).label == label


def test_more_faces_at_once_than_the_history_are_not_forgotten():
    book = Ledger(PER_FRAME.threshold, PER_FRAME.clip, history=100)
    for index in range(30):
        for key in range(1, 151):
            book.saw(Track(key, Face((0, 0, 9, 9), 1.0), index), index / 25)
            book.add(Score(key, index / 25, index / 25, 0.2))
    assert len(book.verdict(Reading()).tracks) == 150


def test_one_crop_is_enough_for_a_still_and_not_for_a_video():
    book = ledger(PER_FRAME, {1: [(0.0, 0.9)]})
    assert book.verdict(Reading(still=True)).label == "fake"
    assert book.verdict(Reading()).label == "insufficient_evidence"


def test_a_clip_model_needs_one_full_window():
    book = Ledger(CLIP.threshold, CLIP.clip)
    for index in range(20):
        book.saw(Track(4, Face((0, 0, 9, 9), 1.0), index), index / 30)
    verdict = book.verdict(Reading())
    assert verdict.label == "insufficient_evidence"
    assert "track 4: no full window" in verdict.reason
    book.add(Score(4, 0.0, 1.0, 0.2))
    assert book.verdict(Reading()).label == "real"


def test_an_incomplete_reading_says_so_beside_its_verdict():
    verdict = ledger(PER_FRAME, {1: steady(0.9, 1)}).verdict(
        Reading(complete=False, incomplete_reason="7 of 23 frames")
    )
    assert (verdict.label, verdict.complete, verdict.reason) == ("fake", False, "7 of 23 frames")


def test_history_bounds_what_is_kept_and_changes_no_score():
    scores = {key: [(key * 20 + time_s, (key % 7) / 10) for time_s, _ in steady(0, 8)] for key in range(1, 301)}
    bounded, full = ledger(PER_FRAME, scores, history=100), ledger(PER_FRAME, scores)
    few, all_of_them = bounded.verdict(Reading()), full.verdict(Reading())
    assert few.fake_score == pytest.approx(all_of_them.fake_score)
    assert len(few.tracks) == 100
    assert max(len(track.scores) for track in few.tracks) == 100
    assert "200 older tracks" in few.reason


def test_scores_come_by_time():
    verdict = ledger(PER_FRAME, {1: steady(0.1, 1), 2: steady(0.2, 1)}).verdict(Reading())
    ends = [score.end_s for score in verdict.scores]
    assert ends == sorted(ends)
    assert len(ends) == 52
