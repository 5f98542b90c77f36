from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake_edge.benchmarks import photo_clips
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.face_crops import photograph


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 25.0
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def grey(picture):
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (24, 24), interpolation=cv2.INTER_AREA).ravel()


def test_each_face_of_a_photograph_becomes_a_clip(tmp_path):
    picture = read_picture(photograph()).pixels
    pair = tmp_path / "pair.png"
    cv2.imwrite(str(pair), np.hstack([picture, picture[:, ::-1]]))
    arguments = [str(pair), "--out", str(tmp_path / "clips"), "--seconds", "0.4", "--faces", "haar"]
    assert photo_clips.main(arguments) == 0
    left, right = (frames_of(tmp_path / "clips" / f"pair-{number}.mkv") for number in (1, 2))
    assert len(left) == len(right) == 10
    assert sorted(path.name for path in (tmp_path / "clips").iterdir()) == ["pair-1.mkv", "pair-2.mkv"]
    assert np.abs(left[0].astype(int) - left[3]).mean() > 3
    # The second face is the first one's mirror image; where a finder sees it may differ a little.
    assert np.corrcoef(grey(left[0]), grey(right[0][:, ::-1]))[0, 1] > 0.8
    assert np.corrcoef(grey(left[0]), grey(right[0]))[0, 1] < 0.8


def test_a_camera_begins_straight_before_the_face():
    picture = read_picture(photograph()).pixels
    first, later = photo_clips.face_views(picture, (200.0, 150.0, 300.0, 290.0), 2)
    assert np.array_equal(first, picture[220 - 168 : 220 + 168, 250 - 168 : 250 + 168])
    assert later.shape == first.shape


def test_a_photograph_without_a_face_is_refused(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((80, 80, 3), 90, np.uint8))
    with pytest.raises(SystemExit) as stopped:
        photo_clips.main([str(tmp_path / "wall.png"), "--out", str(tmp_path / "clips"), "--faces", "haar"])
    assert stopped.value.code == 1
    assert "no face in it" in capsys.readouterr().err
    assert not list((tmp_path / "clips").iterdir())
