"""YuNet through OpenCV's FaceDetectorYN: the best finder here that needs nothing but OpenCV and one small file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deepfake_edge.cache import cache_dir
from deepfake_edge.data import Face, Frame, Pixels
from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency
from deepfake_edge.optional import require
from deepfake_edge.pixels import faces_from, shrink_to_bgr

cv2 = require("cv2")

FILE_NAME = "face_detection_yunet_2023mar.onnx"
URL = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE_NAME}"
_NMS_THRESHOLD = 0.3
_TOP_K = 5000
# With a side of 32 px or less OpenCV's network reads memory that nobody wrote, and reports faces in it.
_MIN_SIDE_PX = 64


def default_path() -> Path:
    """Where the model is looked for unless a file is named."""
    return cache_dir() / "faces" / FILE_NAME


def find_model() -> Path | None:
    """The model in the cache folder, or None where there is none."""
    path = default_path()
    return path if path.is_file() else None


class YuNet:
    """Finds faces from about 10 px, with five landmarks (eyes, nose tip, corners of the mouth).

    One instance belongs to one thread: OpenCV's detector holds the size of the frame it looks at. At a score of
    0.7 to 0.8 patterned shirts and brick walls are faces to it.
    """

    def __init__(
        self, model: str | os.PathLike[str] | None = None, score_threshold: float = 0.8, max_side_px: int = 640
    ) -> None:
        """Load the model.

        Args:
            model: the ONNX file of YuNet; None takes `default_path()`.
            score_threshold: 0..1; faces below are dropped.
            max_side_px: larger frames are shrunk to this longer side first; at least 2.
        Raises:
            MissingDependency: there is no such file.
            InvalidInput: it is not YuNet, or a number is out of range.
        """
        if not 0.0 <= score_threshold <= 1.0:
            raise InvalidInput(f"score_threshold: wanted 0..1, got {score_threshold!r}")
        if max_side_px < 2:
            raise InvalidInput(f"max_side_px: wanted at least 2, got {max_side_px!r}")
        path = default_path() if model is None else Path(model)
        try:
            # OpenCV crashes on a name that is not UTF-8.
            str(path).encode()
            found = path.is_file()
        except (OSError, ValueError):
            raise InvalidInput(f"{str(path)!a}: no name of a file that can be opened; wanted the YuNet model") from None
        if not found:
            raise MissingDependency(
                f"{path}: the YuNet face model is not there. Get it with: "
                f"curl -L --create-dirs -o '{default_path()}' {URL}"
            )
        self._max_side_px = max_side_px
        self._size = (_MIN_SIDE_PX, _MIN_SIDE_PX)
        try:
            self._detector = cv2.FaceDetectorYN.create(
                str(path), "", self._size, score_threshold, _NMS_THRESHOLD, _TOP_K
            )
            # A file of another network loads, and fails only when it runs.
            self._detector.detect(np.zeros((*self._size, 3), np.uint8))
        except cv2.error:
            raise InvalidInput(
                f"{path}: not a YuNet model that this OpenCV can read. Get one with: curl -L {URL}"
            ) from None

    def find(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Return the faces of each frame; see `FaceFinder`.

        Raises:
            InferenceError: OpenCV failed on a frame.
        """
        return [self._find(frame) for frame in frames]

    def _find(self, frame: Frame) -> list[Face]:
        picture, scale = shrink_to_bgr(frame, self._max_side_px)
        picture = _at_least(picture, _MIN_SIDE_PX)
        size = (picture.shape[1], picture.shape[0])
        try:
            if size != self._size:
                self._detector.setInputSize(size)
                self._size = size
            _, rows = self._detector.detect(picture)
        except cv2.error as error:
            raise InferenceError(f"YuNet failed on a frame of {frame.width}x{frame.height}: {error.err}") from error
        if rows is None:
            return []
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return faces_from(corners, rows[:, 14], rows[:, 4:14].reshape(-1, 5, 2), scale)


def _at_least(picture: Pixels, side_px: int) -> Pixels:
    bottom, right = max(side_px - picture.shape[0], 0), max(side_px - picture.shape[1], 0)
    if not bottom and not right:
        return picture
    padded: Pixels = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
    return padded
