"""Data sets in their published layouts go the whole way: prepared, trained on, evaluated."""

from __future__ import annotations

import json

import pytest

from deepfake_edge.cli import main
from training.datasets import trees

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tree", "options", "learning"),
    [
        (trees.faceforensics, ["--compression", "c23", "--most", "18"], []),
        (
            lambda folder, content: trees.celeb_df(folder, content, people=24),
            ["--splits", "drawn"],
            ["--self-blended", "1"],
        ),
        (lambda folder, content: trees.dfdc(folder, content, parts=4), [], []),
    ],
    ids=["FaceForensics++", "Celeb-DF", "DFDC"],
)
@pytest.mark.usefixtures("keras")
def test_a_data_set_goes_the_whole_way(tree, options, learning, clip_path, tmp_path, capsys):
    """The layouts are real; every file is the same clip, and its pictures stand for a face whole."""
    tree(tmp_path / "videos", clip_path.read_bytes())
    faces, run, report = (str(tmp_path / name) for name in ("faces", "run", "report"))
    shown = ["--faces", "whole", "--frames", "2", "--seconds", "1", "--jobs", "2"]
    assert main(["prepare", str(tmp_path / "videos"), "-o", faces, *shown, *options]) == 0
    family = ["--family", "cnn:size_px=32,filters=2", "--stages", "all:1", "--no-augment"]
    assert main(["train", faces, *family, *learning, "-o", run]) == 0
    assert main(["evaluate", f"{run}/best.keras", "--data", faces, "--split", "train", "-o", report]) == 0
    figures = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert figures["data"]["split"] == "train"
    assert "best.keras" in capsys.readouterr().out
