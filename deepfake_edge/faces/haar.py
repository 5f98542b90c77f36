"""OpenCV's own Haar cascade: needs no model file, and finds upright frontal faces only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.data import Face, Frame
from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.optional import require
from deepfake_edge.pixels import faces_from, shrink_to_bgr

cv2 = require("cv2")

# Chosen, with its settings, for no false hit on the clips and photographs that the tests know.
_CASCADE = "haarcascade_frontalface_alt.xml"
_SCALE_STEP = 1.1


class Haar:
    """Finds upright frontal faces from about 25 px; no landmarks.

    A last resort: it misses profiles, tilted and small faces. Its score is the
    cascade's last-stage weight w as w / (1 + w): it orders faces, and means nothing else. One instance belongs
    to one thread.
    """

    def __init__(self, min_neighbours: int = 5, max_side_px: int = 640) -> None:
        """Load the cascade.

        Args:
            min_neighbours: overlapping hits that make a face; more means fewer false ones.
            max_side_px: larger frames are shrunk to this longer side first; at least 2.
        Raises:
            MissingDependency: this OpenCV has no cascades (OpenCV 5 has none).
        """
        if min_neighbours < 1 or max_side_px < 2:
            raise InvalidInput(
                f"min_neighbours, max_side_px: wanted at least 1 and 2, got {min_neighbours!r} and {max_side_px!r}"
            )
        self._min_neighbours = min_neighbours
        self._max_side_px = max_side_px
        self._cascade = _load()

    def find(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Return the faces of each frame; see `FaceFinder`."""
        return [self._find(frame) for frame in frames]

    def _find(self, frame: Frame) -> list[Face]:
        picture, scale = shrink_to_bgr(frame, self._max_side_px)
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey, scaleFactor=_SCALE_STEP, minNeighbors=self._min_neighbours, outputRejectLevels=True
        )
        positive = np.maximum(np.asarray(weights, np.float64).reshape(-1), 0.0)
        corners = np.asarray(boxes, np.float64).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        return faces_from(corners, positive / (1.0 + positive), None, scale)


def _load() -> Any:
    data = getattr(cv2, "data", None)
    path = Path(data.haarcascades) / _CASCADE if data is not None else None
    if not hasattr(cv2, "CascadeClassifier") or path is None or not path.is_file():
        raise MissingDependency(
            f"OpenCV {cv2.__version__} has no Haar cascades. Try: pip install 'opencv-python>=4.8,<5', or --faces yunet"
        )
    cascade = cv2.CascadeClassifier(str(path))
    if cascade.empty():
        raise MissingDependency(f"{path}: OpenCV cannot read its own cascade; reinstall opencv-python")
    return cascade
