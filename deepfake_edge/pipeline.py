"""Frames -> faces -> tracks -> crops -> features -> windows -> scores. Knows protocols only, one frame at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from deepfake_edge.data import Face, Floats, Frame, Moment, Score, Track
from deepfake_edge.model import Model
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.spec import CropSpec
from deepfake_edge.tracking import Tracker
from deepfake_edge.windows import Window, WindowRing

MAX_BATCH = 16
STAGES = ("faces", "tracking", "crops", "backbone", "head")


class Pipeline:
    """The state of one stream of frames. Not for several threads at once.

    A face meets the backbone once a frame; windows reuse its features. A crop of a bridged face (missed, its box
    kept) enters the window but completes none: a score needs a face that was seen.
    """

    def __init__(self, model: Model, finder: FaceFinder, *, crop: CropSpec | None = None, threads: int = 1) -> None:
        """Start with no frame seen.

        Args:
            model: owned by the caller, may be shared by several pipelines.
            finder: used by this pipeline alone.
            crop: how its boxes are cut, where they are no faces' boxes; None takes the model's.
            threads: threads for cutting the crops of one frame.
        """
        self._model = model
        self._finder = finder
        self._threads = threads
        self._crop = crop or model.spec.crop
        self._tracker = Tracker()
        self._rings: dict[int, WindowRing] = {}
        size = model.spec.crop.size_px
        self._batch: Floats = np.empty((MAX_BATCH, 3, size, size), np.float32)
        self.faces_seen = 0
        self.timings_ms: dict[str, float] = dict.fromkeys(STAGES, 0.0)

    def push(self, frame: Frame) -> Moment:
        """Take the next frame; time must not go back.

        Returns:
            the frame, its tracks, and the scores that it completed.
        Raises:
            InvalidInput: the frame is not what its format promises.
            InferenceError: a network failed.
        """
        with self._timed("faces"):
            (found,) = self._finder.find([frame])
            faces = [face for face in found if _touches(face, frame)]
        self.faces_seen += len(faces)
        with self._timed("tracking"):
            tracks = tuple(self._tracker.update(frame.index, frame.time_s, faces))
            self._forget_ended()
        wanted = [track for track in tracks if self._wants(track, frame)]
        for start in range(0, len(wanted), MAX_BATCH):
            self._compute(frame, wanted[start : start + MAX_BATCH])
        return Moment(frame, tracks, self._score([track for track in wanted if track.seen]))

    def _wants(self, track: Track, frame: Frame) -> bool:
        if track.seen:
            return self._ring(track).wants(frame.time_s)
        bridgeable = self._model.spec.clip.frames > 1 and _touches(track.face, frame)
        return bridgeable and self._ring(track).wants(frame.time_s)

    def _ring(self, track: Track) -> WindowRing:
        ring = self._rings.get(track.id)
        if ring is None:
            ring = self._rings[track.id] = WindowRing(self._model.spec.clip, self._model.feature_size)
        return ring

    def _compute(self, frame: Frame, tracks: Sequence[Track]) -> None:
        boxes = np.array([track.face.box_xyxy for track in tracks], np.float32)
        with self._timed("crops"):
            crops = crop_batch(frame, boxes, self._crop, out=self._batch[: len(tracks)], threads=self._threads)
        with self._timed("backbone"):
            features = self._model.features(crops)
        for track, row in zip(tracks, features, strict=True):
            self._rings[track.id].push(frame.time_s, row, seen=track.seen)

    def _score(self, tracks: Sequence[Track]) -> tuple[Score, ...]:
        due: list[tuple[Track, Window]] = []
        for track in tracks:
            window = self._rings[track.id].due()
            if window is not None:
                due.append((track, window))
        if not due:
            return ()
        with self._timed("head"):
            scores = self._model.scores(np.stack([window.features for _, window in due]))
        return tuple(
            Score(track.id, window.start_s, window.end_s, float(score))
            for (track, window), score in zip(due, scores, strict=True)
        )

    def _forget_ended(self) -> None:
        for ended in self._rings.keys() - self._tracker.live_ids:
            del self._rings[ended]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[stage] += (time.perf_counter() - start) * 1000.0


def _touches(face: Face, frame: Frame) -> bool:
    """Whether at least one whole pixel of the box lies inside the frame."""
    left, top, right, bottom = face.box_xyxy
    return (
        min(right, frame.width) - max(left, 0.0) >= 1.0
        and min(bottom, frame.height) - max(top, 0.0) >= 1.0
        and right > left
        and bottom > top
    )
