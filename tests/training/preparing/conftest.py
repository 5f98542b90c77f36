"""Clips that are quickly prepared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.faces.haar import Haar
from deepfake_edge.optional import require
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.face_crops import photograph
from deepfake_edge.training.footage import face_in
from deepfake_edge.training.variations import variations
from training.datasets import trees

cv2 = require("cv2")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> bytes:
    """A clip of 10 frames, 192x192, 10 a second, of one face; a lossless codec, so that it can be compared."""
    pytest.importorskip("matplotlib")
    picture = read_picture(photograph()).pixels
    box = face_in(picture, Haar())
    path = tmp_path_factory.mktemp("tiny") / "tiny.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 10.0, (192, 192))
    left, top = int(box[0]) - 30, int(box[1]) - 30
    side = int(max(box[2] - box[0], box[3] - box[1])) + 60
    for varied, _ in list(variations(picture, box, 200))[:10]:
        view = np.ascontiguousarray(varied[max(top, 0) : top + side, max(left, 0) : left + side])
        writer.write(cv2.resize(view, (192, 192), interpolation=cv2.INTER_AREA))
    writer.release()
    return path.read_bytes()


@pytest.fixture
def plain(tmp_path, tiny) -> Path:
    return trees.fill(tmp_path / "clips", [f"train/{label}/{n}.avi" for label in ("real", "fake") for n in "12"], tiny)
