"""What is drawn on a frame: by pixels where that can be said, else by what must not happen."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.data import Face, Frame, Moment, Score, Track
from deepfake_edge.errors import InvalidInput
from deepfake_edge.overlay import _COLOURS, Overlay, _overlap, _Sizes
from deepfake_edge.trend import TREND_S, Trends

BOXES = [(60.0, 80.0, 120.0, 160.0), (200.0, 80.0, 260.0, 160.0)]


def moment(index, boxes, scores=(), *, size=(240, 320), level=128, seen=True, frame=None, fps=10.0):
    """One moment; scores are (track, fake_score)."""
    time_s = index / fps
    picture = frame or Frame(index, time_s, np.full((*size, 3), level, np.uint8))
    tracks = tuple(Track(number + 1, Face(box, 1.0), index, seen=seen) for number, box in enumerate(boxes))
    return Moment(picture, tracks, tuple(Score(track, time_s, time_s, value) for track, value in scores))


def draw_for(overlay, seconds, boxes, scores, **options):
    picture = None
    for index in range(round(seconds * 10) + 1):
        picture = overlay.draw(moment(index, boxes, scores, **options))
    return picture


def spy_on_places(overlay):
    """A dictionary that holds where each track's label was drawn last."""
    places = {}
    original = overlay._place
    overlay._place = lambda *given: places.update(original(*given)) or places
    return places


def count(picture, label):
    return int((picture == np.array(_COLOURS[label], np.uint8)).all(axis=2).sum())


@pytest.mark.parametrize(("score", "label"), [(0.9, "fake"), (0.1, "real")])
def test_the_colour_follows_the_mean(score, label):
    picture = draw_for(Overlay(0.5), 1.0, BOXES[:1], [(1, score)])
    assert count(picture, label) > 100
    # Smoothed edges of letters may hit another's colour by chance.
    assert sum(count(picture, other) > 20 for other in _COLOURS) == 1


def test_undecided_until_there_is_evidence():
    overlay = Overlay(0.5)
    assert count(overlay.draw(moment(0, BOXES[:1])), "insufficient_evidence") > 100
    picture = overlay.draw(moment(1, BOXES[:1], [(1, 0.9)]))
    assert count(picture, "fake") == 0
    assert count(Overlay(0.5, min_span_s=0.0).draw(moment(0, BOXES[:1], [(1, 0.9)])), "fake") > 100


def test_the_signs_differ_without_colour():
    """A grey copy of each label must still tell them apart."""
    pictures = []
    for scores in ([(1, 0.7)], [(1, 0.3)], []):
        picture = draw_for(Overlay(0.5), 1.0, BOXES[:1], scores)
        pictures.append(picture.max(axis=2) > 60)
    differing = [(one != other).sum() for one, other in zip(pictures, pictures[1:] + pictures[:1], strict=True)]
    assert min(differing) > 50


def test_the_frame_itself_is_left_alone():
    given = moment(0, BOXES, [(1, 0.9)])
    before = given.frame.pixels.copy()
    picture = Overlay(0.5).draw(given)
    assert np.array_equal(given.frame.pixels, before)
    assert picture.shape == before.shape
    assert picture.dtype == np.uint8
    assert not np.shares_memory(picture, given.frame.pixels)


def test_without_faces_nothing_is_drawn():
    given = moment(0, [])
    assert np.array_equal(Overlay(0.5).draw(given), given.frame.pixels)


def test_all_formats():
    bgr = np.full((240, 320, 3), 128, np.uint8)
    nv12 = (np.full((240, 320), 128, np.uint8), np.full((120, 160, 2), 128, np.uint8))
    padded = np.full((240, 400, 3), 128, np.uint8)[:, :320]
    for frame in (Frame(0, 0.0, bgr), Frame(0, 0.0, bgr, "RGB"), Frame(0, 0.0, nv12, "NV12"), Frame(0, 0.0, padded)):
        picture = Overlay(0.5).draw(moment(0, BOXES, frame=frame))
        assert picture.shape == (240, 320, 3)
        assert count(picture, "insufficient_evidence") > 100


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (60, 80), (240, 320), (2160, 3840)])
@pytest.mark.parametrize(
    "boxes",
    [
        [(-50.0, -50.0, -10.0, -10.0)],
        [(-1e9, -1e9, 1e9, 1e9)],
        [(0.2, 0.2, 0.4, 0.4)],
        [(1.0, 1.0, 11.0, 11.0)] * 9,
        [(300.0, 230.0, 400.0, 300.0)],
    ],
)
def test_any_box_on_any_frame(size, boxes):
    picture = Overlay(0.5).draw(moment(0, boxes, [(1, 0.5)], size=size, seen=False))
    assert picture.shape == (*size, 3)


def test_neighbouring_labels_do_not_overlap():
    """Faces of ten pixels, side by side: their labels are many times as wide."""
    boxes = [(40.0 + 24 * i, 100.0, 50.0 + 24 * i, 111.0) for i in range(6)]
    overlay = Overlay(0.5)
    places = spy_on_places(overlay)
    draw_for(overlay, 1.0, boxes, [(number + 1, 0.9) for number in range(6)])
    areas = list(places.values())
    assert len(areas) == 6
    for number, area in enumerate(areas):
        assert 0 <= area[0] < area[2] <= 320
        assert 0 <= area[1] < area[3] <= 240
        assert all(_overlap(area, other) == 0 for other in areas[number + 1 :])
        faces = [(round(box[0]), round(box[1]), round(box[2]), round(box[3])) for box in boxes]
        assert all(_overlap(area, face) == 0 for face in faces)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_labels_are_readable_on_any_background(level):
    overlay = Overlay(0.5)
    places = spy_on_places(overlay)
    picture = draw_for(overlay, 1.0, BOXES[:1], [(1, 0.9)], level=level)
    left, top, right, bottom = places[1]
    plate = picture[top:bottom, left:right].max(axis=2)
    assert np.percentile(plate, 99) > 230
    assert np.median(plate) < 90


def test_a_bridged_box_is_dashed():
    solid = draw_for(Overlay(0.5), 1.0, BOXES[:1], [(1, 0.9)])
    dashed = draw_for(Overlay(0.5), 1.0, BOXES[:1], [(1, 0.9)], seen=False)
    left = 60
    lines = [
        (picture[85:155, left - 4 : left] == _COLOURS["fake"]).all(axis=2).any(axis=1) for picture in (solid, dashed)
    ]
    assert lines[0].all()
    assert 0.2 < lines[1].mean() < 0.8


def test_text_grows_with_the_frame():
    assert _Sizes.of(320, 240).caps == 8
    assert 15 <= _Sizes.of(1280, 720).caps <= 20
    assert 45 <= _Sizes.of(3840, 2160).caps <= 60


def test_memory_is_bounded():
    trends = Trends(0.5)
    for index in range(2000):
        live = trends.update(moment(index, BOXES[:1], [(1, 0.5)], fps=100.0))
    assert len(live[1].points) <= 512
    assert live[1].mean == pytest.approx(0.5)
    assert trends.update(moment(2001, [], fps=100.0)) == {}
    assert trends.update(moment(2002, BOXES[:1], fps=100.0))[1].mean is None


def test_the_mean_counts_every_window_and_the_line_only_the_last_seconds():
    trends = Trends(0.5)
    trends.update(moment(0, BOXES[:1], [(1, 0.9)]))
    live = trends.update(moment(round(TREND_S * 10) + 5, BOXES[:1], [(1, 0.3)]))
    assert live[1].mean == pytest.approx(0.6)
    assert live[1].label == "fake"
    assert live[1].last == pytest.approx(0.3)
    assert len(live[1].points) == 1
    live = trends.update(moment(round(TREND_S * 20) + 10, BOXES[:1]))
    assert live[1].last is None


def test_one_window_of_a_clip_model_decides():
    trends = Trends(0.5)
    given = moment(10, BOXES[:1])
    live = trends.update(Moment(given.frame, given.tracks, (Score(1, 0.0, 1.0, 0.4),)))
    assert live[1].label == "real"


def test_a_threshold_outside_of_0_to_1_is_refused():
    with pytest.raises(InvalidInput, match="threshold"):
        Overlay(1.5)
