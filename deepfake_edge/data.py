"""What flows from a source to a verdict: plain, frozen records with their units in the names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Planes: TypeAlias = tuple[Pixels, Pixels]
PixelFormat: TypeAlias = Literal["BGR", "RGB", "NV12"]
Label: TypeAlias = Literal["real", "fake", "insufficient_evidence"]
Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture at one moment.

    Attributes:
        index: 0-based number of the frame in its source.
        time_s: seconds since the source's first frame, never decreasing.
        pixels: uint8 (H, W, 3) for BGR and RGB; for NV12 the two planes (Y (H, W), UV (H/2, W/2, 2)).
            Rows may be padded (a stride larger than the width); pixels within a row are contiguous.
        format: the colour order or layout of `pixels`.
    """

    index: int
    time_s: float
    pixels: Pixels | Planes
    format: PixelFormat = "BGR"

    @property
    def width(self) -> int:
        """Pixels in a row of the full picture."""
        return int(self._luma.shape[1])

    @property
    def height(self) -> int:
        """Rows of the full picture."""
        return int(self._luma.shape[0])

    @property
    def _luma(self) -> Pixels:
        return self.pixels[0] if isinstance(self.pixels, tuple) else self.pixels


@dataclass(frozen=True, slots=True)
class Face:
    """A face that a finder saw.

    Attributes:
        box_xyxy: left, top, right, bottom in pixels of the frame; may leave it.
        score: the finder's own confidence, 0..1 (1.0 where a finder gives none).
        landmarks: ((x, y), ...) in pixels of the frame, or None where the finder gives none.
    """

    box_xyxy: Box
    score: float
    landmarks: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """A face of one frame, known to be the same person's as in earlier frames.

    Attributes:
        id: 1-based, unique within a source, never used twice.
        face: where it is; for a bridged frame the average of its last boxes.
        frame_index: the frame it belongs to.
        seen: False where the finder missed it and the box was bridged.
    """

    id: int
    face: Face
    frame_index: int
    seen: bool = True


@dataclass(frozen=True, slots=True)
class Score:
    """What the model says of one window of one track.

    Attributes:
        track_id: the track it belongs to.
        start_s: time of the window's first crop.
        end_s: time of its last crop (equal to `start_s` for a per-frame model).
        fake_score: 0 (real) .. 1 (fake). A score, not a probability, unless the model was calibrated.
        frame_scores: fake score of each of the window's crops, oldest first; empty when the model gives none.
    """

    track_id: int
    start_s: float
    end_s: float
    fake_score: float
    frame_scores: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame with everything that is known of it.

    Attributes:
        frame: the picture.
        tracks: the faces in it, bridged ones included.
        scores: the scores that this frame completed; empty for most frames of a clip model with a stride.
    """

    frame: Frame
    tracks: tuple[Track, ...]
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class TrackVerdict:
    """One track's share in a verdict.

    Attributes:
        id: the track's id.
        first_s: when its face was first seen.
        last_s: when it was last seen.
        fake_score: mean over its windows; None where it has too little evidence to decide anything.
        reason: why it decides nothing; None where it counts.
        scores: its windows in time order.
    """

    id: int
    first_s: float
    last_s: float
    fake_score: float | None
    reason: str | None
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What can be said of one source.

    Attributes:
        label: `real`, `fake`, or `insufficient_evidence` (never a guess).
        fake_score: the highest among the tracks that carry enough evidence; None without one.
        scores: every window's score, by time.
        frames_read: frames that were decoded.
        faces_seen: detections, summed over frames (bridged boxes do not count).
        complete: False when the source ended before its stated end, could not be decoded throughout,
            or was stopped.
        reason: why evidence is insufficient or the source incomplete; None when there is nothing to say.
        tracks: every track, those that decide nothing with their reason.
        duration_s: time of the last frame read.
        runtime: what ran the networks and why it was chosen.
        finder: what found the faces and why it was chosen.
        timings_ms: wall time per stage, summed over the source.
    """

    label: Label
    fake_score: float | None
    scores: tuple[Score, ...]
    frames_read: int
    faces_seen: int
    complete: bool
    reason: str | None
    tracks: tuple[TrackVerdict, ...] = ()
    duration_s: float = 0.0
    runtime: str = ""
    finder: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
