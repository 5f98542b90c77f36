"""The acceptance of finding and following: as many tracks of a second or more as there are people."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction

import pytest

from deepfake_edge.faces.yunet import YuNet
from deepfake_edge.sources.video import VideoFile
from deepfake_edge.tracking import Tracker

LONG_S = 1.0 - 1e-6
CLIPS_RIGHT = 13
# Following gets harder with fewer frames, and the test quicker.
RATE_FPS = 12


def lives(path, finder, step):
    """Seconds between the first and the last sight of each track, looking at every `step`-th frame."""
    tracker, seen = Tracker(), {}
    with VideoFile(path) as source:
        for frame in itertools.islice(source.frames(), 0, None, step):
            for track in tracker.update(frame.index, frame.time_s, finder.find([frame])[0]):
                if track.seen:
                    seen.setdefault(track.id, []).append(frame.time_s)
    return [times[-1] - times[0] for times in seen.values()]


@pytest.fixture(scope="module")
def counts(data_dir):
    """(file, people, tracks that live at least a second) of each clip."""
    finder = YuNet(data_dir / "models" / "face_detection_yunet_2023mar.onnx")
    videos = json.loads((data_dir / "manifest.json").read_text())["videos"]
    return [
        (
            video["file"],
            max(row[3] for row in video["faces_over_time"]),
            sum(
                life >= LONG_S
                for life in lives(data_dir / video["file"], finder, round(Fraction(video["fps"]) / RATE_FPS))
            ),
        )
        for video in videos
    ]


def test_as_many_long_tracks_as_people(counts):
    right = [people == tracks for _, people, tracks in counts]
    table = "\n".join(f"{file:52s} people {people} tracks {tracks}" for file, people, tracks in counts)

    assert sum(right) >= CLIPS_RIGHT, table


def test_nobody_is_followed_where_nobody_is(counts):
    assert [tracks for _, people, tracks in counts if people == 0] == [0, 0, 0]
