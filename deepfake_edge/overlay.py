"""Draws what is known of a frame onto a copy of it, for people to look at.

Each face has a box and a label outside of it. The label says by sign, word and colour what the track's score
means so far: a tick, REAL, green; a cross, FAKE, red; a question mark, UNDECIDED, grey. The number is the mean
over all of the track's windows, which decides; the line under it shows the single windows of the last seconds,
with the threshold dashed. A dashed box marks a face that the finder missed in this frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deepfake_edge.data import Box, Moment, Pixels
from deepfake_edge.optional import require
from deepfake_edge.pixels import to_bgr
from deepfake_edge.trend import TREND_S, Trend, Trends
from deepfake_edge.verdict import MIN_SPAN_S

cv2 = require("cv2")

Colour = tuple[int, int, int]
Area = tuple[int, int, int, int]

_COLOURS: dict[str, Colour] = {
    "real": (96, 214, 60),
    "fake": (72, 64, 255),
    "insufficient_evidence": (190, 190, 190),
}
_WORDS = {"real": "REAL", "fake": "FAKE", "insufficient_evidence": "UNDECIDED"}
_PLATE: Colour = (24, 24, 24)
_PLATE_OPACITY = 0.78
_WHITE: Colour = (245, 245, 245)
_DIM: Colour = (150, 150, 150)
_OUTLINE: Colour = (0, 0, 0)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
# Cap height in pixels of this font at scale 1.
_FONT_CAPS_PX = 21.0
_SHORTEST_LINE_S = 2.0
_TINY_PX = 14
# With more faces than this, labels are without their line, or they would hide the picture.
_MOST_FULL_LABELS = 6


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Lengths in pixels that follow from the frame's size."""

    caps: int
    pad: int
    line: int
    trend: int

    @property
    def font(self) -> float:
        return self.caps / _FONT_CAPS_PX

    @classmethod
    def of(cls, width: int, height: int) -> _Sizes:
        caps = round(min(max(min(width, height) * 0.024, 8.0), 60.0))
        return cls(caps=caps, pad=max(2, round(caps * 0.5)), line=max(1, round(caps / 7)), trend=round(caps * 1.8))


class Overlay:
    """Draws moments in time order; remembers the scores of the tracks that are alive, and nothing else."""

    def __init__(self, threshold: float, min_span_s: float = MIN_SPAN_S) -> None:
        """Start with no track.

        Args:
            threshold: a mean at or above it is labelled fake.
            min_span_s: crops of a per-frame model decide nothing before they span this; 0 for a still picture.
        """
        self._trends = Trends(threshold, min_span_s)
        self._threshold = threshold
        self._sides: dict[int, int] = {}

    def draw(self, moment: Moment) -> Pixels:
        """Draw one moment; call it for each, in time order.

        Returns:
            uint8 (H, W, 3) BGR of the frame's size, the caller's own.
        Raises:
            InvalidInput: the frame's pixels are not what its format says.
        """
        trends = self._trends.update(moment)
        picture: Pixels = np.array(to_bgr(moment.frame), np.uint8, order="C")
        sizes = _Sizes.of(moment.frame.width, moment.frame.height)
        boxes = {track.id: _outside(track.face.box_xyxy, picture, sizes) for track in moment.tracks}
        for track in moment.tracks:
            _draw_box(picture, boxes[track.id], _COLOURS[trends[track.id].label], sizes, dashed=not track.seen)
        full = len(moment.tracks) <= _MOST_FULL_LABELS
        labels = {track.id: _Label(track.id, trends[track.id], self._threshold, sizes, full) for track in moment.tracks}
        places = self._place(labels, boxes, picture)
        for track_id, label in labels.items():
            label.draw_leader(picture, places[track_id], boxes[track_id])
        for track_id, label in labels.items():
            label.draw(picture, places[track_id], moment.frame.time_s)
        return picture

    def _place(self, labels: dict[int, _Label], boxes: dict[int, Area], picture: Pixels) -> dict[int, Area]:
        """Put each label next to its box, inside the frame, and where possible on no other label and no face."""
        taken: dict[int, Area] = {}
        sides: dict[int, int] = {}
        for track_id, label in labels.items():
            candidates = _candidates(boxes[track_id], label.width, label.height, label.sizes.pad, picture.shape)
            old = self._sides.get(track_id)
            costs = []
            for side, area in enumerate(candidates):
                cost = 20.0 * sum(_overlap(area, other) for other in taken.values())
                cost += 4.0 * sum(_overlap(area, box) for box in boxes.values())
                # Labels that jump from side to side cannot be read.
                costs.append(cost / (label.width * label.height) + 0.02 * side - (0.15 if side == old else 0.0))
            sides[track_id] = int(np.argmin(costs))
            taken[track_id] = candidates[sides[track_id]]
        self._sides = sides
        return taken


class _Label:
    """One track's plate: a sign, a word, the number; under it the line of the last seconds."""

    def __init__(self, track_id: int, trend: Trend, threshold: float, sizes: _Sizes, full: bool) -> None:
        self._trend = trend
        self._threshold = threshold
        self.sizes = sizes
        self._colour = _COLOURS[trend.label]
        score = "" if trend.mean is None else f" {trend.mean:.2f}"
        self._id = f"#{track_id}"
        self._text = f"{_WORDS[trend.label]}{score}" if full or not score else f"{trend.mean:.2f}"
        self._with_line = full
        self._columns = [_text_width(text, sizes) for text in (self._text, self._id)]
        self.width = 4 * sizes.pad + sizes.line + sizes.caps + sum(self._columns)
        self.height = sizes.caps + 2 * sizes.pad + (sizes.trend + 2 * sizes.pad if full else 0)

    def draw_leader(self, picture: Pixels, area: Area, box: Area) -> None:
        """A line to the box, where the label does not touch it."""
        near = [min(max((box[i] + box[i + 2]) // 2, area[i]), area[i + 2]) for i in (0, 1)]
        edge = [min(max(near[i], box[i]), box[i + 2]) for i in (0, 1)]
        if math.hypot(near[0] - edge[0], near[1] - edge[1]) > 2 * self.sizes.pad:
            for colour, width in ((_OUTLINE, self.sizes.line + 2), (self._colour, self.sizes.line)):
                cv2.line(picture, tuple(near), tuple(edge), colour, width, cv2.LINE_AA)

    def draw(self, picture: Pixels, area: Area, now_s: float) -> None:
        """The plate itself."""
        sizes = self.sizes
        left, top, right, bottom = area
        _shade(picture, area)
        cv2.rectangle(picture, (left, top), (left + 2 * sizes.line - 1, bottom - 1), self._colour, -1)
        x, base = left + 2 * sizes.line + sizes.pad, top + sizes.pad + sizes.caps
        _sign(picture, (x, base - sizes.caps), self._trend.label, self._colour, sizes)
        x += sizes.caps + sizes.pad
        _write(picture, self._text, (x, base), _WHITE, sizes)
        _write(picture, self._id, (right - sizes.pad - self._columns[1], base), _DIM, sizes)
        if self._with_line:
            chart = (
                left + 2 * sizes.line + sizes.pad,
                bottom - sizes.pad - sizes.trend,
                right - sizes.pad,
                bottom - sizes.pad,
            )
            self._draw_line(picture, chart, now_s)

    def _draw_line(self, picture: Pixels, chart: Area, now_s: float) -> None:
        left, top, right, bottom = chart
        level = round(bottom - self._threshold * (bottom - top))
        thin = max(1, self.sizes.line // 2)
        _dashes(picture, (left, level), (right, level), _DIM, thin, 3 * self.sizes.line)
        scores = self._trend.points
        if scores:
            # A young track's line fills the plate too, rather than cower in its corner.
            span_s = min(max(now_s - scores[0][0], _SHORTEST_LINE_S), TREND_S)
            points = [
                (
                    round(right - min(max(now_s - time_s, 0.0) / span_s, 1.0) * (right - left)),
                    round(bottom - score * (bottom - top)),
                )
                for time_s, score in scores
            ]
            corners = np.array(points, np.int32).reshape(-1, 1, 2)
            cv2.polylines(picture, [corners], False, self._colour, self.sizes.line, cv2.LINE_AA)
            cv2.circle(picture, points[-1], self.sizes.line + 1, self._colour, -1, cv2.LINE_AA)


def _outside(box: Box, picture: Pixels, sizes: _Sizes) -> Area:
    """Where the box's lines go: around the face rather than over it, and not outside of the frame."""
    height, width = picture.shape[:2]
    reach = sizes.line + 1
    left, top = math.floor(box[0]) - reach, math.floor(box[1]) - reach
    right, bottom = math.ceil(box[2]) + reach, math.ceil(box[3]) + reach
    left, right = (min(max(side, 0), width - 1) for side in (left, right))
    top, bottom = (min(max(side, 0), height - 1) for side in (top, bottom))
    return left, top, right, bottom


def _draw_box(picture: Pixels, box: Area, colour: Colour, sizes: _Sizes, *, dashed: bool) -> None:
    left, top, right, bottom = box
    line = max(sizes.line, 2 if right - left > _TINY_PX else 1)
    if not dashed:
        cv2.rectangle(picture, (left, top), (right, bottom), _OUTLINE, line + 2)
        cv2.rectangle(picture, (left, top), (right, bottom), colour, line)
        return
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    # Small faces would otherwise get fewer than one dash a side.
    step = max(2, min(4 * sizes.line, (right - left + bottom - top) // 10))
    for paint, width in ((_OUTLINE, line + 2), (colour, line)):
        for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
            _dashes(picture, start, end, paint, width, step)


def _dashes(
    picture: Pixels, start: tuple[int, int], end: tuple[int, int], colour: Colour, width: int, step: int
) -> None:
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    # Lines have round ends, which reach into the gaps.
    for at in np.arange(0.0, length, 3 * step):
        part = [at / length, min(at + step, length) / length]
        ends = [tuple(round(a + (b - a) * share) for a, b in zip(start, end, strict=True)) for share in part]
        cv2.line(picture, ends[0], ends[1], colour, width)


def _sign(picture: Pixels, corner: tuple[int, int], label: str, colour: Colour, sizes: _Sizes) -> None:
    """A tick, a cross or a question mark in a square of the capitals' height; OpenCV's fonts lack the first two."""
    side = sizes.caps
    width = max(2, round(side / 5))

    def at(x: float, y: float) -> tuple[int, int]:
        return corner[0] + round(x * side), corner[1] + round(y * side)

    if label == "real":
        tick = np.array([at(0.0, 0.55), at(0.36, 0.92), at(1.0, 0.08)], np.int32)
        cv2.polylines(picture, [tick], False, colour, width, cv2.LINE_AA)
    elif label == "fake":
        cv2.line(picture, at(0.08, 0.08), at(0.92, 0.92), colour, width, cv2.LINE_AA)
        cv2.line(picture, at(0.92, 0.08), at(0.08, 0.92), colour, width, cv2.LINE_AA)
    else:
        scale = 1.2 * sizes.font
        cv2.putText(picture, "?", at(0.05, 1.0), _FONT, scale, colour, width, cv2.LINE_AA)


def _candidates(box: Area, width: int, height: int, gap: int, shape: Sequence[int]) -> list[Area]:
    """Places around the box, the best first; all inside the frame, as far as it is large enough."""
    left, top, right, bottom = box
    corners = [
        (left, top - gap - height),
        (left, bottom + gap),
        (right + gap, top),
        (left - gap - width, top),
        (right - width, top - gap - height),
        (right - width, bottom + gap),
        (right + gap, bottom - height),
        (left - gap - width, bottom - height),
    ]
    # Further off, for crowds: a line leads back to the box.
    for ring in (2, 3, 4):
        away = ring * (height + gap)
        corners += [(left, top - away), (left, bottom + away - height), (right + gap, top - away + height)]
        corners += [(left - gap - width, top - away + height), (right + gap, bottom + away - 2 * height)]
    return [_inside(x, y, width, height, shape) for x, y in corners]


def _inside(x: int, y: int, width: int, height: int, shape: Sequence[int]) -> Area:
    x, y = max(0, min(x, shape[1] - width)), max(0, min(y, shape[0] - height))
    return x, y, x + width, y + height


def _overlap(one: Area, other: Area) -> int:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _shade(picture: Pixels, area: Area) -> None:
    left, top, right, bottom = area
    part = picture[top:bottom, left:right]
    cv2.addWeighted(part, 1.0 - _PLATE_OPACITY, np.full_like(part, _PLATE), _PLATE_OPACITY, 0.0, dst=part)


def _text_width(text: str, sizes: _Sizes) -> int:
    return int(cv2.getTextSize(text, _FONT, sizes.font, max(1, sizes.line))[0][0])


def _write(picture: Pixels, text: str, base: tuple[int, int], colour: Colour, sizes: _Sizes) -> None:
    cv2.putText(picture, text, base, _FONT, sizes.font, colour, max(1, sizes.line), cv2.LINE_AA)
