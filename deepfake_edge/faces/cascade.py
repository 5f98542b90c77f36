"""MTCNN, a cascade of three small networks, through the mtcnn package and TensorFlow."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from deepfake_edge.data import Face, Frame
from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency
from deepfake_edge.optional import require
from deepfake_edge.pixels import faces_from, shrink_to_bgr

_POINTS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class Mtcnn:
    """Finds faces with MTCNN, the finder that many training sets were cut with; five landmarks.

    Brings TensorFlow into the process, which nothing else at the edge does; its weights come in the package.
    One instance belongs to one thread.
    """

    def __init__(self, score_threshold: float = 0.9, min_face_px: int = 20, max_side_px: int = 640) -> None:
        """Load the networks.

        Args:
            score_threshold: 0..1; faces below are dropped.
            min_face_px: smallest face, in pixels of the shrunk frame.
            max_side_px: larger frames are shrunk to this longer side first; at least 2.
        Raises:
            MissingDependency: mtcnn 1.0 or newer, or TensorFlow, is absent.
        """
        if not 0.0 <= score_threshold <= 1.0:
            raise InvalidInput(f"score_threshold: wanted 0..1, got {score_threshold!r}")
        if min_face_px < 12 or max_side_px < 2:
            raise InvalidInput(
                f"min_face_px, max_side_px: wanted at least 12 and 2, got {min_face_px!r} and {max_side_px!r}"
            )
        self._score_threshold = score_threshold
        self._min_face_px = min_face_px
        self._max_side_px = max_side_px
        # TensorFlow's native log is read from here when it is imported; a value of the user's own wins.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _silence():
            self._detector: Any = _load()

    def find(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Return the faces of each frame; see `FaceFinder`.

        Raises:
            InferenceError: TensorFlow failed on a frame.
        """
        return [self._find(frame) for frame in frames]

    def _find(self, frame: Frame) -> list[Face]:
        picture, scale = shrink_to_bgr(frame, self._max_side_px)
        # Below this its image pyramid has no level, and it fails.
        if min(picture.shape[:2]) < self._min_face_px:
            return []
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        try:
            with _silence():
                found = self._detector.detect_faces(rgb, box_format="xyxy", min_face_size=self._min_face_px)
        except Exception as error:  # TensorFlow's errors share no base with its other failures
            raise InferenceError(f"mtcnn failed on a frame of {frame.width}x{frame.height}: {error}") from error
        sure = [face for face in found if face["confidence"] >= self._score_threshold]
        boxes = np.array([face["box"] for face in sure], np.float64).reshape(-1, 4)
        scores = np.array([face["confidence"] for face in sure], np.float64)
        points = np.array([[face["keypoints"][name] for name in _POINTS] for face in sure], np.float64)
        return faces_from(boxes, scores, points.reshape(-1, len(_POINTS), 2), scale)


def _load() -> Any:
    package = require("mtcnn", extra="mtcnn")
    try:
        return package.MTCNN(device="CPU:0")
    except TypeError:
        # 0.1 takes other arguments, and is five times slower.
        raise MissingDependency("mtcnn is older than 1.0. Try: pip install 'deepfake-edge[mtcnn]'") from None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
