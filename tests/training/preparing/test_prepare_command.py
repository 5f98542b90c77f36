from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.cli import main
from deepfake_edge.optional import require
from deepfake_edge.training.face_crops import photograph
from deepfake_edge.training.preparing.prepared import read_prepared
from deepfake_edge.training.preparing.settings import Settings
from training.datasets import trees

cv2 = require("cv2")


@pytest.fixture
def videos(tmp_path):
    """Real and fake clips of two frames, and a damaged one; `whole` takes the whole picture for a face."""
    folder = trees.fill(tmp_path / "mine", ["val/real/broken.mp4"], b"no video")
    for split in ("train", "val", "test"):
        for label in ("real", "fake/swap"):
            path = folder / split / label / "clip.avi"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 10.0, (64, 64))
            for value in (50, 200):
                writer.write(np.full((64, 64, 3), value, np.uint8))
            writer.release()
    return folder


def test_prepare_says_what_it_wrote_and_what_it_left_out(videos, tmp_path, capsys):
    assert main(["prepare", str(videos), "-o", str(tmp_path / "out"), "--faces", "whole", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines() if line.startswith("mine")]
    assert rows == [
        ["mine", "train", "real", "1", "2", "0", "0", "0"],
        ["mine", "train", "swap", "1", "2", "0", "0", "0"],
        ["mine", "val", "real", "1", "2", "0", "0", "1"],
        ["mine", "val", "swap", "1", "2", "0", "0", "0"],
        ["mine", "test", "real", "1", "2", "0", "0", "0"],
        ["mine", "test", "swap", "1", "2", "0", "0", "0"],
    ]
    assert "left out: val/real/broken.mp4: is text" in err
    assert read_prepared(tmp_path / "out").settings == Settings(finder="whole")


def test_prepare_takes_consecutive_frames(videos, tmp_path, capsys):
    options = ["--faces", "whole", "--jobs", "1", "--consecutive", "--frames", "3", "--most", "2"]
    assert main(["prepare", str(videos), "-o", str(tmp_path / "out"), *options]) == 0
    found = read_prepared(tmp_path / "out")
    assert found.settings == Settings(3, "consecutive", 12.0, finder="whole")
    assert len(found.clips) + len(found.left_out) == 2
    assert "note: 2 of 7 clips taken" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "ff"], "kind: wanted one of"),
        (["--splits", "mine"], "splits: wanted one of strict, published, drawn"),
        (["--compression", "c23"], "goes with FaceForensics++ alone"),
        (["--fps", "12"], "it goes with --consecutive"),
        (["--frames", "0"], "frames: wanted 1 to 1024, got 0"),
        (["--jobs", "0"], "jobs: wanted at least 1"),
        (["--most", "0"], "most: wanted at least 1"),
        (["--faces", "eyes"], "faces: wanted auto or one of"),
    ],
)
def test_prepare_refuses_what_it_cannot_do(videos, tmp_path, capsys, options, words):
    assert main(["prepare", str(videos), "-o", str(tmp_path / "out"), *options]) == 1
    assert words in capsys.readouterr().err


def test_no_face_at_all_is_a_failure(videos, tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["prepare", str(videos), "-o", out, "--faces", "haar", "--most", "1", "--jobs", "1"]) == 1
    assert "no clip shows a face" in capsys.readouterr().err


def test_what_shows_no_face_is_named_and_a_part_that_is_left_without_a_label_is_said(videos, tmp_path, capsys):
    """`haar` finds a face in the photograph alone."""
    pytest.importorskip("matplotlib")
    photo = photograph()
    (videos / "train/real" / f"a{photo.suffix}").write_bytes(photo.read_bytes())
    assert main(["prepare", str(videos), "-o", str(tmp_path / "out"), "--faces", "haar", "--jobs", "1"]) == 0
    out, err = capsys.readouterr()
    assert "left out: train/real/clip.avi: no face was found" in err
    assert "left out: and 2 more" in err
    assert out.splitlines()[-3:] == [
        "1 clip in " + str(tmp_path / "out"),
        "note: mine: no clip is in val or test",
        "note: mine: train has no fakes",
    ]
