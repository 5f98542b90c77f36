"""What the native preprocessing must equal: the plain OpenCV, Pillow and numpy way of doing it."""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image
from PIL import __version__ as pillow_version

from deepfake_edge.data import Frame
from deepfake_edge.spec import CropSpec

PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
OPENCV = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA}


def whole(value: float) -> int:
    return math.floor(value + 0.5)


def rectangle(box, spec: CropSpec, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels a box means; for `square` they may leave the frame."""
    left, top, right, bottom = map(float, box)
    centre_x, centre_y = (left + right) / 2, (top + bottom) / 2
    if spec.fit == "square":
        side = max(1, whole(max(right - left, bottom - top) * spec.margin))
        x, y = whole(centre_x - side / 2), whole(centre_y - side / 2)
        return x, y, x + side, y + side
    spans = []
    for centre, length, limit in ((centre_x, right - left, width), (centre_y, bottom - top, height)):
        begin, end = whole(centre - length * spec.margin / 2), whole(centre + length * spec.margin / 2)
        if begin >= end:
            begin = math.floor(centre)
            end = begin + 1
        spans.append((max(begin, 0), min(end, limit)))
    (x0, x1), (y0, y1) = spans
    return x0, y0, x1, y1


def to_bgr(image) -> np.ndarray:
    if not isinstance(image, Frame):
        return image
    if image.format == "NV12":
        y, uv = image.pixels
        return cv2.cvtColorTwoPlane(np.ascontiguousarray(y), np.ascontiguousarray(uv), cv2.COLOR_YUV2BGR_NV12)
    return image.pixels[:, :, ::-1] if image.format == "RGB" else image.pixels


def cut(picture: np.ndarray, rect: tuple[int, int, int, int]) -> np.ndarray:
    left, top, right, bottom = rect
    height, width = picture.shape[:2]
    crop = np.zeros((bottom - top, right - left, 3), np.uint8)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    crop[y0 - top : y1 - top, x0 - left : x1 - left] = picture[y0:y1, x0:x1]
    return crop


def pillow_13(picture: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    """`Image.resize` as Pillow 13 does it, with older ones too: those never filter the columns first."""
    width, height = picture.size
    if int(pillow_version.partition(".")[0]) < 13 and height > size and height - size > 2 * (width - size):
        picture = picture.resize((width, size), resample)
    return picture.resize((size, size), resample)


def resize(crop: np.ndarray, spec: CropSpec) -> np.ndarray:
    size = (spec.size_px, spec.size_px)
    if spec.resize in PILLOW:
        return np.asarray(pillow_13(Image.fromarray(crop), spec.size_px, PILLOW[spec.resize]))
    return cv2.resize(crop, size, interpolation=OPENCV[spec.resize])


def bytes_of(image, box, spec: CropSpec) -> np.ndarray:
    """uint8 (3, S, S) in the spec's channel order, before it is normalised."""
    picture = to_bgr(image)
    rect = rectangle(box, spec, picture.shape[1], picture.shape[0])
    small = resize(cut(picture, rect), spec)
    return (small[:, :, ::-1] if spec.channel_order == "rgb" else small).transpose(2, 0, 1)


def crop(image, box, spec: CropSpec) -> np.ndarray:
    """float32 (3, S, S)."""
    mean = np.array(spec.mean, np.float32)[:, None, None]
    scale = np.array(spec.scale, np.float32)[:, None, None]
    return (bytes_of(image, box, spec).astype(np.float32) - mean) * scale
