"""A session: the caller owns the loop and pushes frames; scores come back, and a verdict at the end."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import TracebackType

import numpy as np

from deepfake_edge.data import Floats, Frame, Moment, Pixels, Score, Verdict
from deepfake_edge.errors import InvalidInput
from deepfake_edge.pipeline import Pipeline
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from deepfake_edge.verdict import Ledger, Reading, with_provenance

_NO_BOXES: Floats = np.empty((0, 4), np.float32)
_ANY_CROP = CropSpec()


class Session:
    """One stream of frames through a detector. Not for several threads at once; make one a thread.

    Made by `Detector.session()`. Memory is bounded however long it runs, given a `history`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        ledger: Ledger,
        *,
        described: tuple[str, str],
        release: Callable[[], None],
    ) -> None:
        """Wrap a pipeline; use `Detector.session()`.

        Args:
            pipeline: used by this session alone.
            ledger: used by this session alone.
            described: what runs the networks and what finds the faces, for the verdict.
            release: called once when the session ends.
        """
        self._pipeline = pipeline
        self._ledger = ledger
        self._described = described
        self._release: Callable[[], None] | None = release
        self._frames = 0
        self._first_s: float | None = None
        self._time_s: float | None = None

    def push(self, frame: Frame | Pixels, time_s: float | None = None) -> tuple[Score, ...]:
        """Take the next frame.

        Args:
            frame: uint8 (H, W, 3) BGR, or a `Frame` (BGR, RGB or NV12). It is read in place, never copied
                as a whole, and not kept.
            time_s: seconds on any clock that does not go back; needed for an array, and for a `Frame` it
                replaces the frame's own.
        Returns:
            the scores that this frame completed, one a track at most.
        Raises:
            InvalidInput: the frame or its time is not usable; the session goes on unchanged.
            InferenceError: a network failed.
        """
        return self.observe(frame, time_s).scores

    def observe(self, frame: Frame | Pixels, time_s: float | None = None) -> Moment:
        """As `push`, and also returns the tracks, bridged ones included: for drawing."""
        if self._release is None:
            raise InvalidInput("session: it is finished; start another with Detector.session()")
        taken = self._as_frame(frame, time_s)
        moment = self._pipeline.push(taken)
        self._frames += 1
        self._first_s = taken.time_s if self._first_s is None else self._first_s
        self._time_s = taken.time_s
        for track in moment.tracks:
            self._ledger.saw(track, taken.time_s)
        for score in moment.scores:
            self._ledger.add(score)
        return moment

    def verdict(self, *, complete: bool = True, incomplete_reason: str | None = None, still: bool = False) -> Verdict:
        """What can be said so far.

        Args:
            complete: False when frames that should have come did not.
            incomplete_reason: why not.
            still: the one frame is a picture, not a video's first.
        """
        reading = Reading(
            frames_read=self._frames,
            faces_seen=self._pipeline.faces_seen,
            duration_s=(self._time_s or 0.0) - (self._first_s or 0.0),
            complete=complete,
            incomplete_reason=incomplete_reason,
            still=still,
        )
        runtime, finder = self._described
        return with_provenance(self._ledger.verdict(reading), runtime, finder, dict(self._pipeline.timings_ms))

    def finish(self) -> Verdict:
        """End the session and return its verdict; a second call returns the same."""
        self.close()
        return self.verdict()

    def close(self) -> None:
        """End the session without a verdict; may be called twice."""
        if self._release is not None:
            release, self._release = self._release, None
            release()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _as_frame(self, frame: Frame | Pixels, time_s: float | None) -> Frame:
        if isinstance(frame, np.ndarray):
            if time_s is None:
                raise InvalidInput("time_s: an array has no time of its own; give seconds on a clock that only rises")
            taken = Frame(self._frames, _seconds(time_s), frame, "BGR")
        elif isinstance(frame, Frame):
            seconds = _seconds(frame.time_s if time_s is None else time_s)
            taken = Frame(self._frames, seconds, frame.pixels, frame.format)
        else:
            raise InvalidInput(f"frame: wanted a uint8 (H, W, 3) array or a Frame, got {type(frame).__name__}")
        # Without a box nothing is cut, but everything about the frame is checked, before a finder or tracker sees it.
        crop_batch(taken, _NO_BOXES, _ANY_CROP)
        if self._time_s is not None and taken.time_s < self._time_s:
            raise InvalidInput(f"time_s: time went back from {self._time_s} to {taken.time_s}")
        return taken


def _seconds(value: object) -> float:
    if isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value):
        return float(value)
    raise InvalidInput(f"time_s: wanted a finite number of seconds, got {value!r}")
