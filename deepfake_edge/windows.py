"""Features of one track over time -> windows for the head, cut by timestamps.

Time is divided into slots of 1 / sample_fps. The first crop of a slot fills it; a slot that no frame falls into
(the source is slower than the model's sampling) holds the crop before it, as a player that repeats a frame
would. A hole longer than MAX_HOLD_S is not bridged: the window starts anew after it. A window of which less than
half shows a face that was seen is no evidence, and is not given out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.data import Floats
from deepfake_edge.spec import ClipSpec

MAX_HOLD_S = 0.5
# Frames of a source at the sampling rate land on slot borders; this share of a slot keeps jitter in their timestamps
# from moving them across. It is no simple fraction, so that frames of a source at a multiple of the rate stay clear
# of the borders too.
_JITTER_SLOTS = 0.225


@dataclass(frozen=True, slots=True)
class Window:
    """What the head takes: float32 (frames, F) features, and the times of the first and the last crop."""

    features: Floats
    start_s: float
    end_s: float


def slot_of(time_s: float, sample_fps: float) -> int:
    """The slot that a frame of this time falls into."""
    return math.floor(time_s * sample_fps + _JITTER_SLOTS)


class WindowRing:
    """The newest features of one track; memory is bounded by the window's length."""

    def __init__(self, clip: ClipSpec, feature_size: int) -> None:
        """Start empty.

        Args:
            clip: how windows are sampled.
            feature_size: numbers in one crop's features (F).
        """
        self._clip = clip
        # Each row is written twice, a window apart, so that the newest window is always one contiguous slice.
        self._rows: Floats = np.zeros((2 * clip.frames, feature_size), np.float32)
        self._times: NDArray[np.float64] = np.zeros(2 * clip.frames)
        self._seen: NDArray[np.bool_] = np.zeros(clip.frames, np.bool_)
        self._filled = 0
        self._newest_slot: int | None = None
        self._scored_slot: int | None = None

    def wants(self, time_s: float) -> bool:
        """Whether a crop at this time fills a slot that is still empty."""
        return self._newest_slot is None or self._slot(time_s) > self._newest_slot

    def push(self, time_s: float, features: Floats, *, seen: bool = True) -> None:
        """Fill the slot of this time; `wants(time_s)` must hold.

        Args:
            time_s: of the crop's frame.
            features: float32 (F,), copied.
            seen: False where the face was missed and its box bridged.
        """
        slot = self._slot(time_s)
        if self._newest_slot is not None:
            missing = slot - self._newest_slot - 1
            if self._clip.sample_fps is not None and missing > MAX_HOLD_S * self._clip.sample_fps:
                self._filled = 0
                self._scored_slot = None
            else:
                for _ in range(min(missing, self._clip.frames)):
                    last = self._last_row
                    self._write(self._rows[last], float(self._times[last]), bool(self._seen[last]))
        self._write(features, time_s, seen)
        self._newest_slot = slot

    def due(self) -> Window | None:
        """Return the newest window when it is full and a stride away from the one before, else None.

        Its features are a view into the ring, valid until the next `push`.
        """
        if self._filled < self._clip.frames or self._newest_slot is None:
            return None
        if 2 * int(self._seen.sum()) < self._clip.frames:
            return None
        if self._scored_slot is not None and self._newest_slot - self._scored_slot < self._clip.stride:
            return None
        self._scored_slot = self._newest_slot
        last = self._last_row + self._clip.frames
        first = last - self._clip.frames + 1
        return Window(self._rows[first : last + 1], float(self._times[first]), float(self._times[last]))

    def stands(self, time_s: float) -> bool:
        """Whether the window given out last still speaks for the track at this time.

        It does until the next one is overdue by more than MAX_HOLD_S (too few of its crops show the face), or a hole
        made the window start anew.
        """
        if self._scored_slot is None:
            return False
        if self._clip.sample_fps is None:
            return True
        overdue = self._slot(time_s) - self._scored_slot - self._clip.stride
        return overdue <= MAX_HOLD_S * self._clip.sample_fps

    @property
    def _last_row(self) -> int:
        return (self._filled - 1) % self._clip.frames

    def _slot(self, time_s: float) -> int:
        if self._clip.sample_fps is None:
            return 0 if self._newest_slot is None else self._newest_slot + 1
        return slot_of(time_s, self._clip.sample_fps)

    def _write(self, features: Floats, time_s: float, seen: bool) -> None:
        row = self._filled % self._clip.frames
        self._seen[row] = seen
        for place in (row, row + self._clip.frames):
            self._rows[place] = features
            self._times[place] = time_s
        self._filled += 1
