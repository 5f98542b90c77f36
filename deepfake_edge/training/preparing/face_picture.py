"""The part of a frame around a face that is kept for training."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deepfake_edge.data import Box, Pixels
from deepfake_edge.optional import require
from deepfake_edge.training.preparing.prepared import Landmarks

cv2 = require("cv2")

# Of the box's longer side: room for margins up to 2, and for a blend's background.
_SCALE = 2.0


@dataclass(frozen=True, slots=True)
class FacePicture:
    """Pixels, uint8 (H, W, 3), BGR, with the face's box and landmarks in those pixels."""

    pixels: Pixels
    box: Box
    landmarks: Landmarks | None


def cut_face_picture(frame: Pixels, box: Box, landmarks: Landmarks | None, most_px: int) -> FacePicture:
    """Cut the square around a face, twice its longer side, where it lies within the frame.

    Args:
        frame: uint8 (H, W, 3), BGR.
        box: the face, in the frame's pixels; at least a pixel of it lies inside.
        landmarks: in the frame's pixels, or None.
        most_px: a picture with a longer side is shrunk to it, by area.
    Returns:
        a copy. Where nothing is shrunk, its box is the frame's moved by whole pixels, in float32 as crops are cut:
        a crop of up to this margin is the frame's, bit for bit.
    """
    left, top, right, bottom = (float(np.float32(side)) for side in box)
    reach = max(right - left, bottom - top) * _SCALE / 2
    height, width = frame.shape[:2]
    x, y = (left + right) / 2, (top + bottom) / 2
    # A pixel more: crops round their sides.
    first_x, last_x = max(math.floor(x - reach) - 1, 0), min(math.ceil(x + reach) + 1, width)
    first_y, last_y = max(math.floor(y - reach) - 1, 0), min(math.ceil(y + reach) + 1, height)
    pixels = np.array(frame[first_y:last_y, first_x:last_x])
    scale = min(most_px / max(pixels.shape[:2]), 1.0)
    if scale < 1.0:
        size = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
        scales = (size[0] / pixels.shape[1], size[1] / pixels.shape[0])
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    else:
        scales = (1.0, 1.0)

    def moved(place_x: float, place_y: float) -> tuple[float, float]:
        return (place_x - first_x) * scales[0], (place_y - first_y) * scales[1]

    points = None if landmarks is None else tuple(moved(*point) for point in landmarks)
    return FacePicture(pixels, (*moved(left, top), *moved(right, bottom)), points)
