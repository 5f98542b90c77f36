"""Frames -> faces -> tracks -> crops -> features -> windows -> scores. Knows protocols only, one frame at a time."""

from __future__ import annotations

from collections.abc import Mapping

from deepfake_edge.data import Frame, Moment, Score
from deepfake_edge.ensemble import Ensemble
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.strand import Stopwatch, Strand, touches
from deepfake_edge.tracking import Tracker


class Pipeline:
    """The state of one stream of frames. Not for several threads at once.

    One finder and one tracker serve every member of the ensemble; each crops, samples and scores on its own strand.
    """

    def __init__(
        self, ensemble: Ensemble, finder: FaceFinder, *, boxes_are_crops: bool = False, threads: int = 1
    ) -> None:
        """Start with no frame seen.

        Args:
            ensemble: owned by the caller, may be shared by several pipelines.
            finder: used by this pipeline alone.
            boxes_are_crops: the finder's boxes are crops already: nothing is added around them, nor cut away.
            threads: threads for cutting the crops of one frame.
        """
        self._ensemble = ensemble
        self._finder = finder
        self._tracker = Tracker()
        self._watch = Stopwatch()
        self._strands = [
            Strand(member.model, self._watch, boxes_are_crops=boxes_are_crops, threads=threads)
            for member in ensemble.members
        ]
        self.faces_seen = 0

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """Wall time per stage, summed over the stream and the members."""
        return self._watch.timings_ms

    def push(self, frame: Frame) -> Moment:
        """Take the next frame; time must not go back.

        Returns:
            the frame, its tracks, and the scores that it completed.
        Raises:
            InvalidInput: the frame is not what its format promises.
            InferenceError: a network failed.
        """
        with self._watch.timed("faces"):
            (found,) = self._finder.find([frame])
            faces = [face for face in found if touches(face, frame)]
        self.faces_seen += len(faces)
        with self._watch.timed("tracking"):
            tracks = tuple(self._tracker.update(frame.index, frame.time_s, faces))
            for strand in self._strands:
                strand.forget_all_but(self._tracker.live_ids)
        new = set().union(*(strand.take(frame, tracks) for strand in self._strands))
        fused = (self._fused(track.id, frame.time_s) for track in tracks if track.id in new)
        return Moment(frame, tracks, tuple(score for score in fused if score is not None))

    def _fused(self, track_id: int, time_s: float) -> Score | None:
        newest = [strand.newest(track_id, time_s) for strand in self._strands]
        given = [score for score in newest if score is not None]
        return self._ensemble.fuse(given) if len(given) == len(newest) else None
