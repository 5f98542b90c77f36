"""The face that a clip is about, and the moments at which its pictures are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deepfake_edge.data import Box, Face, Frame
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.strand import touches
from deepfake_edge.tracking import Tracker
from deepfake_edge.training.footage import spread
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.windows import MAX_HOLD_S, slot_of


@dataclass(frozen=True, slots=True)
class Sighting:
    """The main face in one frame.

    Attributes:
        frame: the frame's number in the clip.
        time_s: its time.
        face: where the face is; where it was missed, the mean of the boxes before and after.
        seen: False where it was missed.
    """

    frame: int
    time_s: float
    face: Face
    seen: bool


@dataclass(slots=True)
class Watch:
    """All faces of a clip, followed as inference follows them.

    Attributes:
        times_s: of every frame looked at.
        tracks: the faces that were seen, by track and frame.
    """

    times_s: list[float] = field(default_factory=list)
    tracks: dict[int, dict[int, Face]] = field(default_factory=dict)
    _tracker: Tracker = field(default_factory=Tracker)

    def look(self, frame: Frame, finder: FaceFinder) -> None:
        """Take the next frame."""
        (found,) = finder.find([frame])
        faces = [face for face in found if touches(face, frame)]
        for track in self._tracker.update(frame.index, frame.time_s, faces):
            if track.seen:
                self.tracks.setdefault(track.id, {})[len(self.times_s)] = track.face
        self.times_s.append(frame.time_s)

    def sightings(self, settings: Settings) -> list[Sighting]:
        """The main face at the moments that the settings ask for; none where no face was seen.

        The main face is the one that was seen in most frames, of several the largest. Its time begins with the first
        sighting and ends with the last; where these are as near to the clip's ends as a missed face is bridged, it
        is the whole clip.
        """
        if not self.tracks:
            return []
        faces = max(self.tracks.values(), key=lambda seen: (len(seen), sum(map(_area, seen.values())) / len(seen)))
        span = self._span(min(faces), max(faces))
        if settings.fps is None:
            places = spread(span, settings.frames)
        else:
            places = self._at_rate(span, settings.fps)[: settings.frames]
        return [
            Sighting(place, self.times_s[place], faces.get(place) or _bridged(faces, place), place in faces)
            for place in places
        ]

    def _span(self, first: int, last: int) -> range:
        if self.times_s[first] - self.times_s[0] <= MAX_HOLD_S:
            first = 0
        if self.times_s[-1] - self.times_s[last] <= MAX_HOLD_S:
            last = len(self.times_s) - 1
        return range(first, last + 1)

    def _at_rate(self, span: Sequence[int], fps: float) -> list[int]:
        """The first frame of each slot, as inference samples; a slot without one holds the frame before it."""
        by_slot: dict[int, int] = {}
        for place in span:
            by_slot.setdefault(slot_of(self.times_s[place], fps), place)
        places: list[int] = []
        for slot in range(min(by_slot), max(by_slot) + 1):
            places.append(by_slot[slot] if slot in by_slot else places[-1])
        return places


def _bridged(faces: Mapping[int, Face], place: int) -> Face:
    """The mean of the nearest boxes before and after; at an end the nearest."""
    before = max((other for other in faces if other < place), default=None)
    after = min((other for other in faces if other > place), default=None)
    boxes: list[Box] = [faces[other].box_xyxy for other in (before, after) if other is not None]
    left, top, right, bottom = (sum(sides) / len(boxes) for sides in zip(*boxes, strict=True))
    return Face((left, top, right, bottom), 0.0)


def _area(face: Face) -> float:
    left, top, right, bottom = face.box_xyxy
    return (right - left) * (bottom - top)
