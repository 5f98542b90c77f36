from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.data import Face, Frame
from deepfake_edge.training.preparing.main_face import Watch
from deepfake_edge.training.preparing.settings import Settings

PIXELS = np.zeros((100, 200, 3), np.uint8)
SMALL, LARGE = (10.0, 10.0, 30.0, 30.0), (100.0, 20.0, 160.0, 80.0)


class Script:
    """Finds the faces that each frame is said to have."""

    def __init__(self, faces):
        self.faces = faces

    def find(self, frames):
        return [[Face(box, 0.9) for box in self.faces.get(frame.index, ())] for frame in frames]


def watched(faces, frames=50, fps=25.0):
    watch = Watch()
    for index in range(frames):
        watch.look(Frame(index, index / fps, PIXELS), Script(faces))
    return watch


def everywhere(box, frames=range(50)):
    return dict.fromkeys(frames, (box,))


def test_evenly_spaced_from_the_first_to_the_last_frame():
    found = watched(everywhere(SMALL)).sightings(Settings(frames=5))
    assert [sighting.frame for sighting in found] == [0, 12, 24, 37, 49]
    assert all(sighting.seen and sighting.face.box_xyxy == SMALL for sighting in found)


def test_fewer_frames_than_wanted_are_taken_once():
    assert [sighting.frame for sighting in watched(everywhere(SMALL), 3).sightings(Settings(frames=5))] == [0, 1, 2]


def test_the_face_that_is_seen_most_is_taken():
    faces = everywhere(SMALL) | dict.fromkeys(range(20), (SMALL, LARGE))
    assert {found.face.box_xyxy for found in watched(faces).sightings(Settings())} == {SMALL}


def test_of_faces_that_are_seen_as_often_the_larger_is_taken():
    faces = dict.fromkeys(range(50), (SMALL, LARGE))
    assert {found.face.box_xyxy for found in watched(faces).sightings(Settings())} == {LARGE}


def test_a_missed_face_takes_the_mean_of_its_neighbours():
    faces = everywhere((0.0, 0.0, 20.0, 20.0), range(10)) | everywhere((4.0, 2.0, 28.0, 30.0), range(13, 50))
    found = watched(faces).sightings(Settings(frames=50))
    missed = [sighting for sighting in found if not sighting.seen]
    assert [sighting.frame for sighting in missed] == [10, 11, 12]
    assert {sighting.face.box_xyxy for sighting in missed} == {(2.0, 1.0, 24.0, 25.0)}
    assert {sighting.face.landmarks for sighting in missed} == {None}


def test_at_an_end_of_the_clip_a_missed_face_takes_the_nearest_box():
    found = watched(everywhere(LARGE, range(5, 45))).sightings(Settings(frames=50))
    assert [sighting.frame for sighting in found] == list(range(50))
    assert [sighting.frame for sighting in found if not sighting.seen] == [*range(5), *range(45, 50)]
    assert {sighting.face.box_xyxy for sighting in found} == {LARGE}


def test_time_without_the_face_is_not_taken():
    found = watched(everywhere(LARGE, range(20, 30))).sightings(Settings(frames=50))
    assert [sighting.frame for sighting in found] == list(range(20, 30))


def test_no_face_is_no_sighting():
    assert watched({}).sightings(Settings()) == []


@pytest.mark.parametrize(
    ("fps", "rate", "frames"),
    [
        (25.0, 12.5, [0, 2, 4, 6]),
        (25.0, 25.0, [0, 1, 2, 3]),
        # As inference: a slot that the source has no frame for holds the one before.
        (10.0, 20.0, [0, 0, 1, 1]),
    ],
)
def test_consecutive_frames_follow_the_rate(fps, rate, frames):
    found = watched(everywhere(SMALL), fps=fps).sightings(Settings(4, "consecutive", rate))
    assert [sighting.frame for sighting in found] == frames
