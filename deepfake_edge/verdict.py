"""Scores -> verdict. The rule, in full:

- A track's score is the mean over its windows.
- A track carries enough evidence when it has one full window of a clip model; for a per-frame model, when it is
  a still picture, or when its scored crops, MIN_CROPS at least, span MIN_SPAN_S and its face was seen in at least
  half of the frames from first to last. A track with less is listed with its reason and decides nothing.
- A source's score is the highest among the tracks that carry enough; `fake` at or above the threshold.
- Without such a track there is no verdict: `insufficient_evidence`, and the reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from deepfake_edge.data import Label, Score, Track, TrackVerdict, Verdict
from deepfake_edge.spec import ClipSpec
from deepfake_edge.windows import MAX_HOLD_S

MIN_SPAN_S = 0.5
MIN_CROPS = 3
# Nothing follows a face over this: a track that was not seen for so long is over, and may be forgotten.
_OVER_S = 10.0
# Timestamps are sums of floats: half a second at 12 frames a second may come out a hair under 0.5.
_SPAN_SLACK_S = 1e-3


@dataclass(slots=True)
class _Record:
    first_s: float
    last_s: float
    seen: int = 0
    missed: int = 0
    missed_since: int = 0
    total: float = 0.0
    count: int = 0
    first_scored_s: float = 0.0
    last_scored_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How reading the source went.

    Attributes:
        frames_read: frames that were decoded.
        faces_seen: detections, summed over frames.
        duration_s: time of the last frame.
        complete: whether the source was read to its stated end.
        incomplete_reason: why not.
        still: whether the source is a single picture.
    """

    frames_read: int = 0
    faces_seen: int = 0
    duration_s: float = 0.0
    complete: bool = True
    incomplete_reason: str | None = None
    still: bool = False


@dataclass(slots=True)
class Ledger:
    """Keeps what a verdict needs, per track.

    `threshold` and `clip` are the model's; an ensemble's clip is that of the member whose window takes longest.
    With `history`, memory is bounded for sources that never end: the newest `history` scores are kept, over all
    tracks, and the `history` newest tracks; means stay exact, because sums are kept instead, and the highest score
    among forgotten tracks still decides.
    """

    threshold: float
    clip: ClipSpec
    history: int | None = None
    _records: dict[int, _Record] = field(default_factory=dict)
    _forgotten_tracks: int = 0
    _forgotten_score: float | None = None
    _scores: deque[Score] = field(init=False)

    def __post_init__(self) -> None:
        self._scores = deque(maxlen=self.history)

    def saw(self, track: Track, time_s: float) -> None:
        """Note that a track is in a frame; what is bridged counts once the face is seen again."""
        record = self._records.get(track.id)
        if record is None:
            record = self._records[track.id] = _Record(time_s, time_s)
            self._forget_oldest(time_s)
        if not track.seen:
            record.missed_since += 1
            return
        record.last_s = time_s
        record.seen += 1
        record.missed += record.missed_since
        record.missed_since = 0

    def add(self, score: Score) -> None:
        """Note a score; its track must have been seen."""
        record = self._records[score.track_id]
        if record.count == 0:
            record.first_scored_s = score.start_s
        record.last_scored_s = score.end_s
        record.total += score.fake_score
        record.count += 1
        self._scores.append(score)

    def verdict(self, reading: Reading) -> Verdict:
        """Decide, by the rule at the top of this file."""
        kept: dict[int, list[Score]] = {}
        for item in self._scores:
            kept.setdefault(item.track_id, []).append(item)
        tracks = tuple(
            self._judge(key, record, reading.still, kept.get(key, ())) for key, record in sorted(self._records.items())
        )
        counting = [track.fake_score for track in tracks if track.fake_score is not None]
        if self._forgotten_score is not None:
            counting.append(self._forgotten_score)
        score = max(counting, default=None)
        return Verdict(
            label=self._label(score),
            fake_score=score,
            scores=_by_time(tracks),
            frames_read=reading.frames_read,
            faces_seen=reading.faces_seen,
            complete=reading.complete,
            reason=_reason(
                None if score is not None else self._why_none(tracks, reading), reading, self._forgotten_tracks
            ),
            tracks=tracks,
            duration_s=reading.duration_s,
        )

    def _label(self, score: float | None) -> Label:
        if score is None:
            return "insufficient_evidence"
        return "fake" if score >= self.threshold else "real"

    def _judge(self, key: int, record: _Record, still: bool, scores: Sequence[Score] = ()) -> TrackVerdict:
        lacking = self._lacking(record, still)
        mean = record.total / record.count if lacking is None else None
        return TrackVerdict(key, record.first_s, record.last_s, mean, lacking, tuple(scores))

    def _lacking(self, record: _Record, still: bool) -> str | None:
        seen_s = record.last_s - record.first_s
        clip = self.clip
        if clip.frames > 1:
            if record.count:
                return None
            wanted_s = (clip.frames - 1) / (clip.sample_fps or 1.0)
            return f"no full window: seen for {seen_s:.2f} s, a window of {clip.frames} crops takes {wanted_s:.2f} s"
        if record.count == 0:
            return "no crop of it could be scored"
        if still:
            return None
        span_s = record.last_scored_s - record.first_scored_s
        if span_s < MIN_SPAN_S - _SPAN_SLACK_S or record.count < MIN_CROPS:
            needed = f"at least {MIN_SPAN_S} s and {MIN_CROPS} crops are needed"
            return f"{record.count} crops over {span_s:.2f} s were scored, {needed}"
        if record.seen < record.missed:
            return f"seen in only {record.seen} of {record.seen + record.missed} frames, at least half are needed"
        return None

    def _why_none(self, tracks: Sequence[TrackVerdict], reading: Reading) -> str:
        if not tracks:
            return "no face was found"
        step_s = reading.duration_s / max(reading.frames_read - 1, 1)
        if step_s > MAX_HOLD_S:
            return f"frames came {step_s:.1f} s apart, faces are followed over gaps of at most {MAX_HOLD_S} s"
        longest = max(tracks, key=lambda track: track.last_s - track.first_s)
        return f"no face with enough evidence; track {longest.id}: {longest.reason}"

    def _forget_oldest(self, now_s: float) -> None:
        if self.history is None or len(self._records) <= self.history:
            return
        key = min(self._records, key=lambda number: self._records[number].last_s)
        if now_s - self._records[key].last_s <= _OVER_S:
            return
        judged = self._judge(key, self._records.pop(key), still=False)
        self._forgotten_tracks += 1
        if judged.fake_score is not None:
            self._forgotten_score = max(judged.fake_score, self._forgotten_score or 0.0)


def with_provenance(verdict: Verdict, runtime: str, finder: str, timings_ms: dict[str, float]) -> Verdict:
    """The same verdict, saying what made it."""
    return replace(verdict, runtime=runtime, finder=finder, timings_ms=timings_ms)


def _by_time(tracks: Sequence[TrackVerdict]) -> tuple[Score, ...]:
    scores = [score for track in tracks for score in track.scores]
    return tuple(sorted(scores, key=lambda score: (score.end_s, score.track_id)))


def _reason(insufficient: str | None, reading: Reading, forgotten: int) -> str | None:
    unlisted = f"{forgotten} older tracks count but are no longer listed" if forgotten else None
    parts = (insufficient, None if reading.complete else reading.incomplete_reason, unlisted)
    return "; ".join(part for part in parts if part) or None
