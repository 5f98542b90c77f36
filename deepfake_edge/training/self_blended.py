"""Self-blended images: fakes for training, made of real faces alone.

After Shiohara and Yamasaki, "Detecting Deepfakes with Self-Blended Images", CVPR 2022: a face is blended with a
slightly changed copy of itself under a soft mask, which leaves what face swaps leave: a border, and two sides of
it that differ in colour, sharpness, compression and place. Own code, after the paper. What is drawn is drawn once
for a clip, so that a fake holds still over time as a real swap does; only the place trembles from frame to frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deepfake_edge.data import Box, Face, Floats, Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require

cv2 = require("cv2")

# A mask is drawn on a square of this side, which covers the face's box this many times.
_SIDE, _SPAN = 128, 1.6
_RATIOS = (0.5, 0.75, 1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Tone:
    """A change of light, colour, sharpness and compression.

    Attributes:
        shift_bgr: added to the pixels of each channel.
        contrast: multiplies the distance from mid grey.
        gamma: power of the share of white that a pixel then has.
        hue: added, in OpenCV's half degrees.
        saturation: multiplies it.
        shrink: the picture is shrunk by this and blown up again; 1 leaves it.
        sharpen: share of an unsharp mask; 0 leaves it.
        quality: of a JPEG in between, 1..100; None leaves it.
        exposure: multiplies all levels, before anything else.
    """

    shift_bgr: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contrast: float = 1.0
    gamma: float = 1.0
    hue: float = 0.0
    saturation: float = 1.0
    shrink: float = 1.0
    sharpen: float = 0.0
    quality: int | None = None
    exposure: float = 1.0


@dataclass(frozen=True, slots=True)
class Blend:
    """How one clip's face is blended with itself.

    Attributes:
        tone: of one of the two sides.
        tone_inside: the side is the one under the mask, else the one around it.
        scale_xy: the face under the mask is stretched by this.
        shift_xy: and shifted by this, in shares of its box.
        mask: float32 (128, 128), 0..1, over the box scaled by 1.6; the blend ratio is in it.
    """

    tone: Tone
    tone_inside: bool
    scale_xy: tuple[float, float]
    shift_xy: tuple[float, float]
    mask: Floats


def draw_tone(random: np.random.Generator, strength: float = 1.0) -> Tone:
    """Draw a tone.

    Args:
        random: where chance comes from.
        strength: scales the ranges of colours; 1 is about the paper's: 20 a channel, 5 half degrees, 15 % of
            contrast, 25 % of saturation.
    """
    blue, green, red = random.uniform(-20, 20, 3) * strength
    values = {
        "contrast": 1 + random.uniform(-0.15, 0.15) * strength,
        "hue": random.uniform(-5, 5) * strength,
        "saturation": 1 + random.uniform(-0.25, 0.25) * strength,
    }
    kind = random.choice(("none", "shrink", "sharpen", "quality"))
    return Tone(
        shift_bgr=(float(blue), float(green), float(red)),
        shrink=float(random.uniform(1.5, 3.0)) if kind == "shrink" else 1.0,
        sharpen=float(random.uniform(0.3, 1.0)) if kind == "sharpen" else 0.0,
        quality=int(random.integers(30, 90)) if kind == "quality" else None,
        **values,
    )


def draw_blend(random: np.random.Generator, face: Face, strength: float = 1.0) -> Blend:
    """Draw how a clip's face is blended with itself.

    Args:
        random: where chance comes from; the same state draws the same blend.
        face: in one of the clip's frames; with landmarks (eyes first, mouth corners last) the mask is often
            their hull, else an ellipse.
        strength: of the tone, see `draw_tone`.
    """
    hull = face.landmarks is not None and random.random() < 0.5
    outline = _landmark_hull(random, face) if hull else _ellipse(random)
    return Blend(
        tone=draw_tone(random, strength),
        tone_inside=bool(random.random() < 0.5),
        scale_xy=(float(random.uniform(0.95, 1 / 0.95)), float(random.uniform(0.95, 1 / 0.95))),
        shift_xy=(float(random.uniform(-0.03, 0.03)), float(random.uniform(-0.03, 0.03))),
        mask=_soften(random, outline) * np.float32(random.choice(_RATIOS)),
    )


def self_blend(
    picture: Pixels, box: Box, blend: Blend, tremble: np.random.Generator | None = None
) -> tuple[Pixels, Floats]:
    """Blend a face with a changed copy of itself; outside the box scaled by 1.6 the picture has at most another tone.

    Args:
        picture: uint8 (H, W, 3), BGR; not changed.
        box: the face.
        blend: the same for all frames of a clip.
        tremble: where small errors of place from frame to frame come from; None makes none.
    Returns:
        the fake, uint8 (H, W, 3), and the mask, float32 (H, W): the share of the changed copy in each pixel.
    Raises:
        InvalidInput: the face lies outside the picture.
    """
    left, top, right, bottom = _region(picture, box)
    if left >= right or top >= bottom:
        raise InvalidInput(f"box: {box} lies outside a picture of {picture.shape[1]} x {picture.shape[0]}")
    moved = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
    inside = picture[top:bottom, left:right]
    if blend.tone_inside:
        inside, fake = apply_tone(inside, blend.tone), picture.copy()
    else:
        fake = apply_tone(picture, blend.tone)
    outside = fake[top:bottom, left:right]
    errors = (0.0, 0.0) if tremble is None else tuple(tremble.normal(0.0, 0.004, 2))
    size = (right - left, bottom - top)
    inside = cv2.warpAffine(inside, _warp(moved, blend, errors), size, borderMode=cv2.BORDER_REFLECT_101)
    mask = cv2.warpAffine(blend.mask, _placing(moved), size)
    fake[top:bottom, left:right] = np.rint(outside + mask[..., None] * (inside.astype(np.float32) - outside))
    whole: Floats = np.zeros(picture.shape[:2], np.float32)
    whole[top:bottom, left:right] = mask
    return fake, whole


def apply_tone(picture: Pixels, tone: Tone) -> Pixels:
    """Change a picture, uint8 (H, W, 3) BGR, by a tone."""
    height, width = picture.shape[:2]
    values = cv2.LUT(picture, _lighting(tone))
    if tone.hue or tone.saturation != 1:
        values = cv2.cvtColor(cv2.LUT(cv2.cvtColor(values, cv2.COLOR_BGR2HSV), _hueing(tone)), cv2.COLOR_HSV2BGR)
    if tone.shrink > 1:
        small = (max(round(width / tone.shrink), 1), max(round(height / tone.shrink), 1))
        values = cv2.resize(cv2.resize(values, small, interpolation=cv2.INTER_AREA), (width, height))
    if tone.sharpen:
        values = cv2.addWeighted(values, 1 + tone.sharpen, cv2.GaussianBlur(values, (0, 0), 2), -tone.sharpen, 0)
    if tone.quality is not None:
        _, coded = cv2.imencode(".jpg", values, [cv2.IMWRITE_JPEG_QUALITY, tone.quality])
        values = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    changed: Pixels = values
    return changed


def _lighting(tone: Tone) -> Pixels:
    """What each of the 256 levels of each channel becomes: uint8 (256, 1, 3)."""
    levels = np.arange(256, dtype=np.float32)[:, None, None] * np.float32(tone.exposure)
    lit = np.clip((levels - 127.5) * tone.contrast + 127.5 + np.asarray(tone.shift_bgr, np.float32), 0, 255)
    if tone.gamma != 1:
        lit = 255 * (lit / 255) ** tone.gamma
    return np.asarray(lit, np.uint8)


def _hueing(tone: Tone) -> Pixels:
    """What each level of hue, saturation and value becomes: uint8 (256, 1, 3)."""
    levels = np.arange(256)
    hues = (levels + round(tone.hue)) % 180
    saturations = np.clip(levels * np.float32(tone.saturation), 0, 255)
    return np.stack([hues, saturations, levels], 1)[:, None].astype(np.uint8)


def _ellipse(random: np.random.Generator) -> Floats:
    """Points of an ellipse somewhere in the face, in shares of its box."""
    angles = np.linspace(0, 2 * math.pi, 24, endpoint=False)
    radii = random.uniform(0.25, 0.48, 2)
    centre = 0.5 + random.uniform(-0.08, 0.08, 2)
    return np.asarray(centre + radii * np.stack([np.cos(angles), np.sin(angles)], 1), np.float32)


def _landmark_hull(random: np.random.Generator, face: Face) -> Floats:
    """The hull of the landmarks, blown up, in shares of the face's box."""
    left, top, right, bottom = face.box_xyxy
    points = (np.asarray(face.landmarks, np.float32) - (left, top)) / (right - left, bottom - top)
    centre = points.mean(0)
    spread = centre + (points - centre) * random.uniform(1.3, 1.9, 2)
    around = np.concatenate([spread, spread + random.uniform(-0.08, 0.08, spread.shape)]).astype(np.float32)
    hull: Floats = cv2.convexHull(around)[:, 0]
    return hull


def _soften(random: np.random.Generator, outline: Floats) -> Floats:
    """An outline as a mask: filled, elastically deformed, its border made soft."""
    points = ((outline - 0.5) / _SPAN + 0.5) * _SIDE
    mask = np.zeros((_SIDE, _SIDE), np.float32)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 1.0)
    noise = random.uniform(-1, 1, (2, _SIDE, _SIDE)).astype(np.float32)
    shifts = [cv2.GaussianBlur(plane, (0, 0), 7) * 60 for plane in noise]
    rows, columns = np.mgrid[0:_SIDE, 0:_SIDE].astype(np.float32)
    mask = cv2.remap(mask, columns + shifts[0], rows + shifts[1], cv2.INTER_LINEAR)
    # The kernel's weights sum to one only within rounding.
    softened: Floats = np.minimum(cv2.GaussianBlur(mask, (0, 0), random.uniform(0.8, 4.5)), 1)
    return softened


def _region(picture: Pixels, box: Box) -> tuple[int, int, int, int]:
    """The box scaled as a mask is, cut at the picture's edges."""
    height, width = picture.shape[:2]
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half_x, half_y = (box[2] - box[0]) * _SPAN / 2, (box[3] - box[1]) * _SPAN / 2
    left, top = max(math.floor(x - half_x), 0), max(math.floor(y - half_y), 0)
    return left, top, min(math.ceil(x + half_x), width), min(math.ceil(y + half_y), height)


def _placing(box: Box) -> Floats:
    """The affine map from a mask's square to the picture."""
    left, top, right, bottom = box
    across, down = (right - left) * _SPAN, (bottom - top) * _SPAN
    x, y = (left + right - across) / 2, (top + bottom - down) / 2
    return np.asarray([[across / _SIDE, 0, x], [0, down / _SIDE, y]], np.float32)


def _warp(box: Box, blend: Blend, errors: tuple[float, ...]) -> Floats:
    """The affine map that stretches a face around its centre and shifts it."""
    left, top, right, bottom = box
    x, y = (left + right) / 2, (top + bottom) / 2
    scale_x, scale_y = blend.scale_xy
    shift_x, shift_y = ((share + error) for share, error in zip(blend.shift_xy, errors, strict=True))
    across, down = x * (1 - scale_x) + shift_x * (right - left), y * (1 - scale_y) + shift_y * (bottom - top)
    return np.asarray([[scale_x, 0, across], [0, scale_y, down]], np.float32)
