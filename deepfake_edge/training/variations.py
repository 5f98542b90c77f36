"""Smooth, seeded variations of a picture with a face: what a camera, a person and a codec do to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepfake_edge.data import Box, Floats, Pixels
from deepfake_edge.optional import require

cv2 = require("cv2")

_SEED = 20180911
# Each property swings between its two ends, at a frequency and phase of its own.
_RANGES = {
    "shift_x": (-0.14, 0.14),
    "shift_y": (-0.14, 0.14),
    "size": (0.75, 1.35),
    "turn_deg": (-22.0, 22.0),
    "brightness": (-55.0, 55.0),
    "contrast": (0.55, 1.4),
    "warmth": (0.8, 1.25),
    "blur_px": (0.0, 3.0),
    "quality": (25.0, 95.0),
    "mirror": (-1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class _Moment:
    shift_x: float
    shift_y: float
    size: float
    turn_deg: float
    brightness: float
    contrast: float
    warmth: float
    blur_px: float
    quality: float
    mirror: float


def variations(picture: Pixels, box: Box, count: int) -> Iterator[tuple[Pixels, Box]]:
    """Vary a picture along a smooth, closed path.

    Args:
        picture: uint8 (H, W, 3), BGR.
        box: the face.
        count: how many.
    Yields:
        a picture of the same size and the face's box in it; the same ones in every process.
    """
    random = np.random.Generator(np.random.PCG64(_SEED))
    frequencies = {name: int(random.integers(1, 4)) for name in _RANGES}
    phases = {name: float(random.uniform(0, 2 * math.pi)) for name in _RANGES}
    for index in range(count):
        values = {}
        for name, (low, high) in _RANGES.items():
            swing = math.sin(2 * math.pi * frequencies[name] * index / count + phases[name])
            values[name] = (low + high) / 2 + (high - low) / 2 * swing
        moment = _Moment(**values)
        yield _light(_turn(picture, box, moment), moment), _move(box, moment)


def _turn(picture: Pixels, box: Box, moment: _Moment) -> Pixels:
    """Turn around the face's centre; mirror in place."""
    left, top, right, bottom = box
    centre = ((left + right) / 2, (top + bottom) / 2)
    matrix = cv2.getRotationMatrix2D(centre, moment.turn_deg, 1.0)
    if moment.mirror < 0:
        flip = np.array([[-1.0, 0.0, 2 * centre[0]], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
        matrix = matrix @ flip
    height, width = picture.shape[:2]
    turned: Pixels = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return turned


def _light(picture: Pixels, moment: _Moment) -> Pixels:
    gains = np.array([1 / moment.warmth, 1.0, moment.warmth], np.float32) * np.float32(moment.contrast)
    lit: Floats = (picture.astype(np.float32) - 127.5) * gains + np.float32(127.5 + moment.brightness)
    values = np.clip(np.rint(lit), 0, 255).astype(np.uint8)
    if moment.blur_px > 0.3:
        values = cv2.GaussianBlur(values, (0, 0), moment.blur_px)
    _, coded = cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, round(moment.quality)])
    decoded: Pixels = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return decoded


def _move(box: Box, moment: _Moment) -> Box:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    x, y = (left + right) / 2 + moment.shift_x * width, (top + bottom) / 2 + moment.shift_y * height
    half_x, half_y = width * moment.size / 2, height * moment.size / 2
    return (x - half_x, y - half_y, x + half_x, y + half_y)
