"""Clips to try things on, made from a public-domain photograph that a dependency ships: pristine, or self-blended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfake_edge.data import Box, Face, Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.face_crops import photograph
from deepfake_edge.training.self_blended import draw_blend, self_blend

cv2 = require("cv2")

_FPS = 25.0
_SECONDS = 4.0
_CLOSE_UP = (320, 384)
# The face in the photograph, which is always the same one.
_FACE: Box = (178.0, 123.0, 356.0, 335.0)
_BLEND_SEED = 1906
_BLEND_STRENGTH = 1.5


def make_clip(path: Path) -> None:
    """Write a camera that drifts over a face: 4 s of 640x480 at 25 frames a second.

    Raises:
        InvalidInput: the file cannot be written.
        MissingDependency: the photograph is not there.
    """
    picture = read_picture(photograph()).pixels
    middle = (picture.shape[1] / 2, picture.shape[0] * 0.4)
    _write(path, picture, Camera(middle, zoom=1.4, sway_px=20.0, size=(640, 480)))


def make_close_up(path: Path, *, blended: bool) -> None:
    """Write a clip that a face fills as it fills a crop of 1.3 times its box: 4 s of 320x384, else as `make_clip`.

    Args:
        path: an .mp4 file.
        blended: the face is blended with a changed copy of itself, as a fake's is; see `self_blended`.
    Raises:
        InvalidInput: the file cannot be written.
        MissingDependency: the photograph is not there.
    """
    picture = read_picture(photograph()).pixels
    if blended:
        blend = draw_blend(np.random.default_rng(_BLEND_SEED), Face(_FACE, 1.0), _BLEND_STRENGTH)
        picture, _ = self_blend(picture, _FACE, blend)
    left, top, right, bottom = _FACE
    width, height = _CLOSE_UP
    camera = Camera(((left + right) / 2, (top + bottom) / 2), width / (1.3 * (right - left)), 4.0, (width, height))
    _write(path, picture, camera)


@dataclass(frozen=True, slots=True)
class Camera:
    """Looks at a point of a photograph, sways by some pixels, turns by 3 degrees and comes closer by 0.1.

    Attributes:
        at_xy: the point, in the photograph's pixels.
        zoom: pixels of the view to one of the photograph, at first.
        sway_px: how far it sways to each side, in the view's pixels.
        size: of the view, width and height.
    """

    at_xy: tuple[float, float]
    zoom: float
    sway_px: float
    size: tuple[int, int]

    def view(self, picture: Pixels, progress: float) -> Pixels:
        """What it sees of a photograph, uint8 (H, W, 3), when this share of the clip is over."""
        swing = math.sin(2 * math.pi * progress)
        turn = cv2.getRotationMatrix2D(self.at_xy, 3.0 * swing, self.zoom + 0.1 * progress)
        across, down = self.size[0] / 2 - self.at_xy[0], self.size[1] / 2 - self.at_xy[1]
        turn[:, 2] += np.array([across + self.sway_px * swing, down])
        seen: Pixels = cv2.warpAffine(picture, turn, self.size, borderMode=cv2.BORDER_REPLICATE)
        return seen


def _write(path: Path, picture: Pixels, camera: Camera) -> None:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), _FPS, camera.size)
    if not writer.isOpened():
        raise InvalidInput(f"{path}: this OpenCV cannot write it")
    try:
        for index in range(round(_FPS * _SECONDS)):
            writer.write(camera.view(picture, index / (_FPS * _SECONDS)))
    finally:
        writer.release()
