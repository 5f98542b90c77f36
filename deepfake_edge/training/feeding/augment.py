"""What a camera, a person and a codec do to a window: drawn once, the same in all its frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from deepfake_edge.data import Box, Pixels
from deepfake_edge.optional import require
from deepfake_edge.training.feeding.face_window import FaceWindow
from deepfake_edge.training.feeding.options import Augmentation
from deepfake_edge.training.h264 import through_h264
from deepfake_edge.training.self_blended import Tone, apply_tone

cv2 = require("cv2")

_SMALLEST_VIDEO_PX = 16
# Of light, and the power that makes levels of it.
_STOPS, _GAMMA = (-2.0, 0.5), 2.2
# The normal distribution at the middle of 256 equal shares: a byte of chance becomes noise.
_NORMAL = np.asarray([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)], np.float32)


@dataclass(frozen=True, slots=True)
class Change:
    """One window's change.

    Attributes:
        shift_xy: boxes move by this share of their sides.
        grow: and their sides are multiplied by this.
        flip: mirrored.
        turn_deg: turned around the face's centre.
        tone: light, colour, how far the picture is shrunk and blown up again, and an unsharp mask.
        blur: standard deviation, as a share of the box's longer side.
        noise: standard deviation, in levels.
        noise_seed: what the noise is drawn from.
        quality: of a JPEG in between, 1..100; None: none.
        crf: constant rate factor of H.264 in between, 0..51; None: none.
    """

    shift_xy: tuple[float, float] = (0.0, 0.0)
    grow: float = 1.0
    flip: bool = False
    turn_deg: float = 0.0
    tone: Tone = field(default_factory=Tone)
    blur: float = 0.0
    noise: float = 0.0
    noise_seed: int = 0
    quality: int | None = None
    crf: int | None = None


def draw_change(random: np.random.Generator, augment: Augmentation) -> Change:
    """Draw a change; the same state of `random` draws the same one."""

    def chosen(rate: float) -> float:
        return augment.strength if random.random() < rate else 0.0

    def swing(most: float) -> float:
        return float(random.uniform(-most, most))

    def factor(low: float, high: float, power: float) -> float:
        return math.exp(power * random.uniform(math.log(low), math.log(high)))

    crop, colour, jpeg, video = (chosen(rate) for rate in (augment.crop, augment.colour, augment.jpeg, augment.video))
    level = swing(25.0)
    blue, green, red = (colour * (level + swing(10.0)) for _ in range(3))
    tone = Tone(
        shift_bgr=(blue, green, red),
        contrast=1 + colour * swing(0.2),
        gamma=factor(0.8, 1.25, colour),
        hue=colour * swing(5.0),
        saturation=1 + colour * swing(0.25),
        shrink=1 + chosen(augment.shrink) * random.uniform(0.0, 2.0),
        sharpen=chosen(augment.sharpen) * random.uniform(0.0, 1.5),
        exposure=2 ** (chosen(augment.exposure) * random.uniform(*_STOPS) / _GAMMA),
    )
    return Change(
        shift_xy=(crop * swing(0.06), crop * swing(0.06)),
        grow=factor(1 / 1.1, 1.1, crop),
        flip=bool(random.random() < augment.flip),
        turn_deg=chosen(augment.turn) * swing(10.0),
        tone=tone,
        blur=chosen(augment.blur) * random.uniform(0.0, 0.015),
        noise=chosen(augment.noise) * random.uniform(0.0, 8.0),
        noise_seed=int(random.integers(2**32)),
        quality=max(round(100 - jpeg * random.uniform(0, 60)), 1) if jpeg else None,
        crf=min(round(18 + video * random.uniform(0, 22)), 51) if video else None,
    )


def change_window(window: FaceWindow, change: Change) -> FaceWindow:
    """Change all pictures of a window alike; it has no landmarks then, as those would have to move along."""
    turned = [_turn(*pair, change) for pair in zip(window.pictures, window.boxes, strict=True)]
    noise = np.random.default_rng(change.noise_seed)
    pictures = [_degrade(picture, box, change, noise) for picture, box in turned]
    boxes = [box for _, box in turned]
    if change.crf is not None:
        pictures = _film(pictures, boxes, change.crf)
    moved = tuple(_move(picture, box, change) for picture, box in zip(pictures, boxes, strict=True))
    return FaceWindow(tuple(pictures), moved, (None,) * len(moved))


def _turn(picture: Pixels, box: Box, change: Change) -> tuple[Pixels, Box]:
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    if change.flip:
        picture, left, right = cv2.flip(picture, 1), width - right, width - left
    if change.turn_deg:
        matrix = cv2.getRotationMatrix2D(((left + right) / 2, (top + bottom) / 2), change.turn_deg, 1.0)
        picture = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return picture, (left, top, right, bottom)


def _degrade(picture: Pixels, box: Box, change: Change, random: np.random.Generator) -> Pixels:
    """Colours, sharpness, noise and JPEG, in this order."""
    picture = apply_tone(picture, change.tone)
    blur_px = change.blur * max(box[2] - box[0], box[3] - box[1])
    # Less than this is nothing, in pixels.
    if blur_px > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    if change.noise:
        chances = np.frombuffer(random.bytes(picture.size), np.uint8).reshape(picture.shape)
        levels = np.rint(change.noise * _NORMAL).astype(np.int16)
        picture = cv2.add(picture, cv2.LUT(chances, levels), dtype=cv2.CV_8U)
    return picture if change.quality is None else apply_tone(picture, Tone(quality=change.quality))


def _film(pictures: Sequence[Pixels], boxes: Sequence[Box], crf: int) -> list[Pixels]:
    """Through H.264, on one canvas on which the faces' centres meet: pictures differ in size."""
    sizes = np.asarray([(picture.shape[1], picture.shape[0]) for picture in pictures])
    corners = np.asarray(boxes)
    centres = np.clip(np.rint((corners[:, :2] + corners[:, 2:]) / 2), 0, sizes).astype(int)
    before = centres.max(0) - centres
    canvas = np.maximum((before + sizes).max(0), _SMALLEST_VIDEO_PX)
    canvas += canvas % 2
    after = canvas - before - sizes
    padded = [
        cv2.copyMakeBorder(picture, top, bottom, left, right, cv2.BORDER_REPLICATE)
        for picture, (left, top), (right, bottom) in zip(pictures, before.tolist(), after.tolist(), strict=True)
    ]
    return [
        film[top : top + height, left : left + width]
        for film, (left, top), (width, height) in zip(
            through_h264(padded, crf), before.tolist(), sizes.tolist(), strict=True
        )
    ]


def _move(picture: Pixels, box: Box, change: Change) -> Box:
    """The box as loose as a finder's; as it was where it would leave the picture."""
    height, width = picture.shape[:2]
    across, down = box[2] - box[0], box[3] - box[1]
    x = (box[0] + box[2]) / 2 + change.shift_xy[0] * across
    y = (box[1] + box[3]) / 2 + change.shift_xy[1] * down
    half_x, half_y = across * change.grow / 2, down * change.grow / 2
    moved = (x - half_x, y - half_y, x + half_x, y + half_y)
    inside = min(moved[2], width) - max(moved[0], 0) >= 1 and min(moved[3], height) - max(moved[1], 0) >= 1
    return moved if inside else box
