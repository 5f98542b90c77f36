"""A clip to try things on, made from a public-domain photograph that a dependency ships."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.data import Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.face_crops import photograph

_FPS = 25.0
_SECONDS = 4.0
_SIZE = (640, 480)


def make_clip(path: Path) -> None:
    """Write a camera that drifts over a face: 4 s of 640x480 at 25 frames a second.

    Raises:
        InvalidInput: the file cannot be written.
        MissingDependency: the photograph is not there.
    """
    cv2 = require("cv2")
    picture = read_picture(photograph()).pixels
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), _FPS, _SIZE)
    if not writer.isOpened():
        raise InvalidInput(f"{path}: this OpenCV cannot write it")
    try:
        for index in range(round(_FPS * _SECONDS)):
            writer.write(_view(cv2, picture, index / (_FPS * _SECONDS)))
    finally:
        writer.release()


def _view(cv2: Any, picture: Pixels, progress: float) -> Pixels:
    swing = math.sin(2 * math.pi * progress)
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height * 0.4), 3.0 * swing, 1.4 + 0.1 * progress)
    turn[:, 2] += np.array([_SIZE[0] / 2 - width / 2 + 20.0 * swing, _SIZE[1] * 0.5 - height * 0.4])
    view: Pixels = cv2.warpAffine(picture, turn, _SIZE, borderMode=cv2.BORDER_REPLICATE)
    return view
