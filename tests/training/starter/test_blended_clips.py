from __future__ import annotations

import cv2
import numpy as np

from deepfake_edge.benchmarks import blended_clips
from deepfake_edge.benchmarks.real_clips import read_clip, self_blended


def test_a_fake_is_written_without_loss(clip_path, tmp_path):
    assert blended_clips.main([str(clip_path), "--out", str(tmp_path), "--blends", "2", "--fps", "2"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip-1.mkv", "clip-2.mkv"]
    wanted = self_blended(read_clip(clip_path, 2.0), (0, 2), 1.0).pictures
    capture = cv2.VideoCapture(str(tmp_path / "clip-2.mkv"))
    assert capture.get(cv2.CAP_PROP_FPS) == 2.0
    found = [capture.read()[1] for _ in wanted]
    assert not capture.read()[0]
    assert all(np.abs(seen.astype(int) - made).max() <= 3 for seen, made in zip(found, wanted, strict=True))
