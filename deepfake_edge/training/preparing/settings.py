"""How face pictures are taken from clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from deepfake_edge.errors import InvalidInput

Spacing: TypeAlias = Literal["evenly", "consecutive"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How face pictures were taken.

    Attributes:
        frames: face pictures of a clip, at most.
        spacing: `evenly` over the time that the face is seen, or `consecutive` at `fps`.
        fps: pictures a second of `consecutive`; None for `evenly`.
        seconds: only a clip's first seconds were looked at; None: all of it.
        finder: what found the faces.
        most_px: a face picture with a longer side was shrunk to it.
    """

    frames: int = 30
    spacing: Spacing = "evenly"
    fps: float | None = None
    seconds: float | None = None
    finder: str = "yunet"
    most_px: int = 512

    def __post_init__(self) -> None:
        _check(1 <= self.frames <= 1024, "frames", "1 to 1024", self.frames)
        _check(self.spacing in ("evenly", "consecutive"), "spacing", "evenly or consecutive", self.spacing)
        if self.spacing == "evenly":
            _check(self.fps is None, "fps", "none: frames are spread evenly; it goes with --consecutive", self.fps)
        else:
            _check(self.fps is not None and 0.01 <= self.fps <= 1000.0, "fps", "0.01 to 1000", self.fps)
        _check(self.seconds is None or 0.0 < self.seconds <= 1e6, "seconds", "above 0", self.seconds)
        _check(64 <= self.most_px <= 4096, "most_px", "64 to 4096", self.most_px)


def _check(holds: bool, name: str, wanted: str, got: object) -> None:
    if not holds:
        raise InvalidInput(f"{name}: wanted {wanted}, got {got!r}")
