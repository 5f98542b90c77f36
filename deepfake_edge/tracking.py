"""Faces of single frames become tracks: who is the same person as in the frame before."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.data import Box, Face, Track
from deepfake_edge.errors import InvalidInput

# A face may move this many of its own sizes between two frames, plus so many a second, up to a limit. Boxes
# of small faces jump by half their size from one frame to the next; somebody who walks past a camera makes
# about seven face sizes a second. Beyond the limit it is a cut, or somebody else.
_REACH = 0.5
_REACH_PER_S = 7.0
_REACH_LIMIT = 2.0
# A cut from a close-up to a wide shot leaves a face where one was, at another size.
_SIZE_RATIO_LIMIT = 2.0
# Frames at 1/12 s do not add up to exactly half a second in binary.
_TIME_SLACK_S = 1e-6


class Tracker:
    """Joins faces into tracks by where they are and how large; looks at no pixels.

    One tracker follows one stream, on one thread. It remembers only the tracks that are alive, so its memory is
    bounded by the number of faces that are seen within `max_gap_s`.
    """

    def __init__(self, max_gap_s: float = 0.5, *, bridge_boxes: int = 5) -> None:
        """Start with no track.

        Args:
            max_gap_s: a track that was not seen for longer ends.
            bridge_boxes: a missed face is put at the average of this many of its last boxes.
        """
        if not math.isfinite(max_gap_s) or max_gap_s < 0:
            raise InvalidInput(f"max_gap_s: wanted a number of seconds from 0, got {max_gap_s!r}")
        if bridge_boxes < 1:
            raise InvalidInput(f"bridge_boxes: wanted at least 1, got {bridge_boxes!r}")
        self._max_gap_s = max_gap_s
        self._bridge_boxes = bridge_boxes
        self._live: dict[int, _Memory] = {}
        self._last_id = 0
        self._now_s = -math.inf

    @property
    def live_ids(self) -> frozenset[int]:
        """Tracks that may still continue; an id that has left this set never comes back."""
        return frozenset(self._live)

    def update(self, frame_index: int, time_s: float, faces: Sequence[Face]) -> list[Track]:
        """Take the next frame's faces.

        Args:
            frame_index: passed on to the tracks.
            time_s: of the frame; must not go back.
            faces: in any order; the order changes nothing.
        Returns:
            every live track by id: the face that was seen, or `seen=False`, score 0 and the average of the last
            boxes. Each face is in exactly one track.
        Raises:
            InvalidInput: time goes back, or a box has no area or is not finite.
        """
        if not time_s >= self._now_s or math.isinf(time_s):
            raise InvalidInput(f"time_s: wanted a number from {self._now_s}, got {time_s!r}")
        ordered = sorted(faces, key=_appearance)
        for face in ordered:
            _check(face)
        self._now_s = time_s
        self._end_lost(time_s)
        owners = self._associate(time_s, ordered)
        seen: dict[int, Face] = {}
        for face, owner in zip(ordered, owners, strict=True):
            if owner is None:
                self._last_id += 1
                owner = self._last_id
                self._live[owner] = _Memory(self._bridge_boxes)
            self._live[owner].see(time_s, face)
            seen[owner] = face
        return [
            Track(track_id, seen[track_id], frame_index)
            if track_id in seen
            else Track(track_id, memory.bridged(), frame_index, seen=False)
            for track_id, memory in sorted(self._live.items())
        ]

    def _end_lost(self, time_s: float) -> None:
        oldest_s = time_s - self._max_gap_s - _TIME_SLACK_S
        for track_id in [track_id for track_id, memory in self._live.items() if memory.seen_s < oldest_s]:
            del self._live[track_id]

    def _associate(self, time_s: float, faces: Sequence[Face]) -> list[int | None]:
        owners: list[int | None] = [None] * len(faces)
        if not self._live or not faces:
            return owners
        track_ids = sorted(self._live)
        memories = [self._live[track_id] for track_id in track_ids]
        costs = _costs(memories, faces, time_s)
        free = set(range(len(track_ids)))
        # A stable sort of the row-major matrix breaks ties by track id, then by the faces' own order.
        for flat in np.argsort(costs, axis=None, kind="stable"):
            row, column = divmod(int(flat), len(faces))
            if not math.isfinite(costs[row, column]):
                break
            if row in free and owners[column] is None:
                owners[column] = track_ids[row]
                free.remove(row)
        return owners


class _Memory:
    """What is remembered of one live track."""

    __slots__ = ("boxes", "face", "seen_s")

    def __init__(self, boxes: int) -> None:
        self.boxes: deque[Box] = deque(maxlen=boxes)
        self.face: Face
        self.seen_s = -math.inf

    def see(self, time_s: float, face: Face) -> None:
        self.boxes.append(face.box_xyxy)
        self.face = face
        self.seen_s = time_s

    def bridged(self) -> Face:
        left, top, right, bottom = (sum(side) / len(self.boxes) for side in zip(*self.boxes, strict=True))
        return Face((left, top, right, bottom), 0.0)


def _costs(memories: Sequence[_Memory], faces: Sequence[Face], time_s: float) -> NDArray[np.float64]:
    """(tracks, faces): how unlike they are; infinite where they cannot be the same face.

    Overlap would say nothing here: a 15 px face at 12 frames a second does not overlap its own last box. The
    distance of the centres, measured in faces, does; so does the ratio of the sizes.
    """
    old = _places([memory.face for memory in memories])[:, None, :]
    new = _places(faces)[None, :, :]
    since_s = time_s - np.array([memory.seen_s for memory in memories])[:, None]
    distance = np.hypot(old[..., 0] - new[..., 0], old[..., 1] - new[..., 1])
    distance /= np.sqrt(old[..., 2] * new[..., 2])
    size_change = np.abs(np.log(old[..., 2] / new[..., 2]))
    reach = np.minimum(_REACH + _REACH_PER_S * since_s, _REACH_LIMIT)
    possible = (distance <= reach) & (size_change <= math.log(_SIZE_RATIO_LIMIT))
    # Of two tracks that a face fits equally well, the one that was seen a moment ago is the likelier.
    return np.where(possible, distance + size_change + since_s, np.inf)


def _places(faces: Sequence[Face]) -> NDArray[np.float64]:
    """(N, 3): centre x, centre y and size (the side of a square of the same area), in pixels."""
    left, top, right, bottom = np.array([face.box_xyxy for face in faces], np.float64).T
    return np.stack([(left + right) / 2, (top + bottom) / 2, np.sqrt((right - left) * (bottom - top))], axis=1)


def _appearance(face: Face) -> tuple[float, Box, tuple[tuple[float, float], ...]]:
    return (-face.score, face.box_xyxy, face.landmarks or ())


def _check(face: Face) -> None:
    left, top, right, bottom = face.box_xyxy
    if not all(map(math.isfinite, face.box_xyxy)) or right <= left or bottom <= top:
        raise InvalidInput(f"face: wanted a box (left, top, right, bottom) with an area, got {face.box_xyxy}")
