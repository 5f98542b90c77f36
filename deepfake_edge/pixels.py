"""Between a source's frames and the pictures that face finders look at, in both directions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.data import Face, Frame, Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require

cv2 = require("cv2")


def to_bgr(frame: Frame) -> Pixels:
    """The frame as uint8 (H, W, 3) BGR; a BGR frame's own array, not a copy.

    NV12 is read as BT.601 with limited range, which is what OpenCV and camera stacks mean by it.

    Raises:
        InvalidInput: the pixels are not what the frame's format says.
    """
    y_or_picture, uv = planes_of(frame)
    if uv is not None:
        converted: Pixels = cv2.cvtColorTwoPlane(y_or_picture, uv, cv2.COLOR_YUV2BGR_NV12)
        return converted
    if frame.format == "RGB":
        swapped: Pixels = cv2.cvtColor(y_or_picture, cv2.COLOR_RGB2BGR)
        return swapped
    return y_or_picture


def shrink_to_bgr(frame: Frame, max_side_px: int) -> tuple[Pixels, float]:
    """The frame as BGR, made smaller where its longer side exceeds `max_side_px`.

    Shrinks before it converts, so a large NV12 or RGB frame is never converted as a whole.

    Returns:
        uint8 (H, W, 3) BGR (a BGR frame that is small enough is its own array), and the factor that frame
        pixels were multiplied with, at most 1.
    Raises:
        InvalidInput: the pixels are not what the frame's format says, or `max_side_px` is below 2.
    """
    if max_side_px < 2:
        raise InvalidInput(f"max_side_px: wanted at least 2, got {max_side_px}")
    scale = max_side_px / max(frame.width, frame.height, 1)
    if scale >= 1.0:
        return to_bgr(frame), 1.0
    y_or_picture, uv = planes_of(frame)
    width, height = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    if uv is None:
        small = Frame(frame.index, frame.time_s, _resize(y_or_picture, width, height), frame.format)
    else:
        half_width, half_height = (width + 1) // 2, (height + 1) // 2
        planes = (_resize(y_or_picture, half_width * 2, half_height * 2), _resize(uv, half_width, half_height))
        small = Frame(frame.index, frame.time_s, planes, "NV12")
    return to_bgr(small), scale


def planes_of(frame: Frame) -> tuple[Pixels, Pixels | None]:
    """The frame's memory as it is: the picture (H, W, 3) and None, or NV12's Y (H, W) and UV (H/2, W/2, 2).

    Raises:
        InvalidInput: the pixels are not what the frame's format says.
    """
    if isinstance(frame.pixels, tuple):
        y, uv = frame.pixels
        right = y.ndim == 2 and y.size > 0 and uv.shape == (y.shape[0] // 2, y.shape[1] // 2, 2)
        if frame.format != "NV12" or not right or y.shape[0] % 2 or y.shape[1] % 2:
            raise InvalidInput(
                f"frame: two planes are NV12 with even sides, Y (H, W) and UV (H/2, W/2, 2); "
                f"got {frame.format}, {y.shape} and {uv.shape}"
            )
        _check_type(y)
        _check_type(uv)
        return y, uv
    shape = frame.pixels.shape
    if frame.format not in ("BGR", "RGB") or len(shape) != 3 or shape[2] != 3 or frame.pixels.size == 0:
        raise InvalidInput(f"frame: wanted (H, W, 3) as BGR or RGB, got {frame.format} of shape {shape}")
    _check_type(frame.pixels)
    return frame.pixels, None


def faces_from(
    boxes_xyxy: NDArray[np.floating],
    scores: NDArray[np.floating],
    landmarks: NDArray[np.floating] | None = None,
    scale: float = 1.0,
) -> list[Face]:
    """A finder's arrays as faces in the frame's own pixels, in a fixed order.

    Args:
        boxes_xyxy: (N, 4), pixels of the picture that the finder saw.
        scores: (N,); cut to 0..1.
        landmarks: (N, points, 2) in the same pixels, or None.
        scale: what `shrink_to_bgr` returned with that picture.
    Returns:
        highest score first, then by position. Boxes without area or with numbers that are not finite are
        dropped: no crop can be cut from them.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4) / scale
    points = None if landmarks is None else np.asarray(landmarks, np.float64) / scale
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    faces = []
    for row in np.flatnonzero(usable):
        left, top, right, bottom = map(float, boxes[row])
        marks = None if points is None else tuple((float(x), float(y)) for x, y in points[row])
        faces.append(Face((left, top, right, bottom), float(np.clip(scores[row], 0.0, 1.0)), marks))
    return in_order(faces)


def in_order(faces: Iterable[Face]) -> list[Face]:
    """Highest score first, then from the top left: the same faces give the same list."""
    return sorted(faces, key=lambda face: (-face.score, face.box_xyxy[1], face.box_xyxy[0], face.box_xyxy))


def _resize(pixels: Pixels, width: int, height: int) -> Pixels:
    resized: Pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return resized


def _check_type(pixels: Pixels) -> None:
    if pixels.dtype != np.uint8:
        raise InvalidInput(f"frame: wanted uint8 pixels, got {pixels.dtype}")
