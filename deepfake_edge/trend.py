"""How each track's score stands at this moment, and how it got there: for people who watch."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from deepfake_edge.data import Label, Moment, Score
from deepfake_edge.errors import InvalidInput
from deepfake_edge.verdict import MIN_SPAN_S

TREND_S = 10.0
_MOST_POINTS = 512
_SPAN_SLACK_S = 1e-3


@dataclass(slots=True)
class Trend:
    """One live track's scores.

    Attributes:
        label: what a verdict would say of this track now.
        mean: mean over all its windows so far, which decides the label; None before the first.
        points: its newest windows, (end_s, fake_score), over the last TREND_S.
    """

    label: Label = "insufficient_evidence"
    mean: float | None = None
    points: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_MOST_POINTS))
    _total: float = 0.0
    _count: int = 0
    _first_s: float = 0.0

    @property
    def last(self) -> float | None:
        """The newest window's score; None before the first and after TREND_S without one."""
        return self.points[-1][1] if self.points else None

    def add(self, score: Score, threshold: float, min_span_s: float) -> None:
        """Take a window into account; the verdict also asks how many crops there are, and how many show the face."""
        if self._count == 0:
            self._first_s = score.start_s
        self._total += score.fake_score
        self._count += 1
        self.mean = self._total / self._count
        self.points.append((score.end_s, score.fake_score))
        # A window of a clip model is evidence enough; a per-frame model's single crop is not.
        if score.end_s > score.start_s or score.end_s - self._first_s >= min_span_s - _SPAN_SLACK_S:
            self.label = "fake" if self.mean >= threshold else "real"


class Trends:
    """The trends of all live tracks. Remembers nothing of a track that has ended, so its memory is bounded."""

    def __init__(self, threshold: float, min_span_s: float = MIN_SPAN_S) -> None:
        """Start with no track.

        Args:
            threshold: a mean at or above it is labelled fake.
            min_span_s: crops of a per-frame model decide nothing before they span this; 0 for a still picture.
        """
        if not 0.0 <= threshold <= 1.0:
            raise InvalidInput(f"threshold: wanted a number from 0 to 1, got {threshold!r}")
        self._threshold = threshold
        self._min_span_s = min_span_s
        self._live: dict[int, Trend] = {}

    def update(self, moment: Moment) -> dict[int, Trend]:
        """Take the next moment; returns the trends of the tracks in it, by id."""
        ids = [track.id for track in moment.tracks]
        self._live = {track_id: self._live.get(track_id) or Trend() for track_id in ids}
        for score in moment.scores:
            if score.track_id in self._live:
                self._live[score.track_id].add(score, self._threshold, self._min_span_s)
        oldest_s = moment.frame.time_s - TREND_S
        for trend in self._live.values():
            while trend.points and trend.points[0][0] < oldest_s:
                trend.points.popleft()
        return self._live
