"""One model's part of one stream: crops -> features -> windows -> the newest score of each track."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from deepfake_edge.data import Face, Floats, Frame, Score, Track
from deepfake_edge.model import Model
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.windows import Window, WindowRing

MAX_BATCH = 16
STAGES = ("faces", "tracking", "crops", "backbone", "head")


class Stopwatch:
    """Wall time per stage, summed over a stream, in milliseconds."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time that the block takes to a stage of STAGES."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[stage] += (time.perf_counter() - start) * 1000.0


@dataclass(slots=True)
class _State:
    """What is known of one live track: its newest features, and the newest score."""

    ring: WindowRing
    score: Score | None = None


class Strand:
    """The state of one model in one stream; its memory is bounded by the number of live tracks.

    A crop of a bridged face (missed, its box kept) enters the window but completes none: a score needs a face that
    was seen.
    """

    def __init__(self, model: Model, watch: Stopwatch, *, boxes_are_crops: bool = False, threads: int = 1) -> None:
        """Start with no track.

        Args:
            model: owned by the caller, may be shared.
            watch: told how long each stage takes.
            boxes_are_crops: the boxes are crops already: nothing is to be added around them, nor cut away.
            threads: threads for cutting the crops of one frame.
        """
        self._model = model
        self._watch = watch
        self._threads = threads
        crop = model.spec.crop
        self._crop = replace(crop, margin=1.0, fit="stretch") if boxes_are_crops else crop
        self._batch: Floats = np.empty((MAX_BATCH, 3, crop.size_px, crop.size_px), np.float32)
        # A fused network's window holds whole crops, a hundred times the size of features.
        self._windows_at_once = 1 if model.fused else MAX_BATCH
        self._states: dict[int, _State] = {}

    def take(self, frame: Frame, tracks: Sequence[Track]) -> set[int]:
        """Take the next frame's tracks.

        Returns:
            ids of the tracks that got a new score.
        Raises:
            InferenceError: a network failed.
        """
        wanted = [track for track in tracks if self._wants(track, frame)]
        for start in range(0, len(wanted), MAX_BATCH):
            self._compute(frame, wanted[start : start + MAX_BATCH])
        due = self._due([track for track in wanted if track.seen])
        for start in range(0, len(due), self._windows_at_once):
            self._score(due[start : start + self._windows_at_once])
        return {track.id for track, _ in due}

    def newest(self, track_id: int, time_s: float) -> Score | None:
        """The track's newest score; None before the first, and where it no longer stands (see `WindowRing.stands`)."""
        state = self._states.get(track_id)
        return state.score if state is not None and state.ring.stands(time_s) else None

    def forget_all_but(self, live_ids: frozenset[int]) -> None:
        """Forget tracks that have ended."""
        for ended in self._states.keys() - live_ids:
            del self._states[ended]

    def _wants(self, track: Track, frame: Frame) -> bool:
        bridgeable = self._model.spec.clip.frames > 1 and touches(track.face, frame)
        return (track.seen or bridgeable) and self._state(track).ring.wants(frame.time_s)

    def _state(self, track: Track) -> _State:
        state = self._states.get(track.id)
        if state is None:
            ring = WindowRing(self._model.spec.clip, self._model.feature_size)
            state = self._states[track.id] = _State(ring)
        return state

    def _compute(self, frame: Frame, tracks: Sequence[Track]) -> None:
        features = self._features(frame, np.array([track.face.box_xyxy for track in tracks], np.float32))
        for track, row in zip(tracks, features, strict=True):
            self._states[track.id].ring.push(frame.time_s, row, seen=track.seen)

    def _features(self, frame: Frame, boxes_xyxy: Floats) -> Floats:
        if self._model.cuts_crops:
            with self._watch.timed("backbone"):
                return self._model.features_of_faces(frame, boxes_xyxy, self._crop)
        with self._watch.timed("crops"):
            crops = crop_batch(frame, boxes_xyxy, self._crop, out=self._batch[: len(boxes_xyxy)], threads=self._threads)
        with self._watch.timed("backbone"):
            return self._model.features(crops)

    def _due(self, tracks: Sequence[Track]) -> list[tuple[Track, Window]]:
        due: list[tuple[Track, Window]] = []
        for track in tracks:
            state = self._states[track.id]
            window = state.ring.due()
            if window is not None:
                state.score = None  # should the head fail, the old score is not the newest any more
                due.append((track, window))
        return due

    def _score(self, due: Sequence[tuple[Track, Window]]) -> None:
        with self._watch.timed("head"):
            clips, frames = self._model.scores(np.stack([window.features for _, window in due]))
        for (track, window), clip, each in zip(due, clips, frames, strict=True):
            score = Score(track.id, window.start_s, window.end_s, float(clip), tuple(each.tolist()))
            self._states[track.id].score = score


def touches(face: Face, frame: Frame) -> bool:
    """Whether at least one whole pixel of the face's box lies inside the frame."""
    left, top, right, bottom = face.box_xyxy
    return (
        min(right, frame.width) - max(left, 0.0) >= 1.0
        and min(bottom, frame.height) - max(top, 0.0) >= 1.0
        and right > left
        and bottom > top
    )
