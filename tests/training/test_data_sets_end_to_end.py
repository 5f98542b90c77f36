"""Data sets in their published layouts go the whole way: prepared, trained on, evaluated."""

from __future__ import annotations

import json

import pytest

from deepfake_edge.cli import main
from deepfake_edge.errors import MissingDependency
from deepfake_edge.training import workshop
from deepfake_edge.training.sample_clip import make_clip
from training.datasets import trees

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """What every file of the trees is: the layouts are real; the pictures are the same, and stand for a face whole."""
    try:
        workshop.keras()
    except MissingDependency as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path.read_bytes()


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
def test_a_data_set_goes_the_whole_way(tree, options, learning, clip, tmp_path, capsys):
    tree(tmp_path / "videos", clip)
    faces, run, report = (str(tmp_path / name) for name in ("faces", "run", "report"))
    shown = ["--faces", "whole", "--frames", "2", "--seconds", "1", "--jobs", "2"]
    assert main(["prepare", str(tmp_path / "videos"), "-o", faces, *shown, *options]) == 0
    family = ["--family", "cnn:size_px=32,filters=2", "--stages", "all:1", "--no-augment"]
    assert main(["train", faces, *family, *learning, "-o", run]) == 0
    assert main(["evaluate", f"{run}/best.keras", "--data", faces, "--split", "train", "-o", report]) == 0
    figures = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert figures["data"]["split"] == "train"
    assert "best.keras" in capsys.readouterr().out
