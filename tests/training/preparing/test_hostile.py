"""Records that somebody or something damaged: refused in words, before a model is asked about their clips."""

from __future__ import annotations

import json
import math
import os

import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.reading import ReadOptions, read_dataset
from deepfake_edge.training.preparing.prepared import read_prepared
from training.datasets.trees import faceforensics, fill
from training.prepared_data import make_prepared

_DEEP = b"[" * 200_000


@pytest.fixture
def record(tmp_path):
    prepared = make_prepared(tmp_path / "prepared", clips=1, frames=3)
    return prepared.folder, prepared.clips[0].folder / "clip.json"


def _timeless(pictures):
    pictures[1]["time_s"] = math.nan


def _backwards(pictures):
    pictures.reverse()


def _boundless(pictures):
    pictures[1]["box"][2] = math.inf


def _flat(pictures):
    pictures[1]["box"][2] = pictures[1]["box"][0]


@pytest.mark.parametrize("damage", [list.clear, _timeless, _backwards, _boundless, _flat])
def test_a_damaged_clip_is_refused_when_it_is_read(record, damage):
    folder, path = record
    found = json.loads(path.read_bytes())
    damage(found["pictures"])
    path.write_text(json.dumps(found))
    with pytest.raises(InvalidInput, match="is damaged"):
        read_prepared(folder)


def test_a_record_that_is_nested_without_end_is_refused(record):
    folder, path = record
    path.write_bytes(_DEEP)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_prepared(folder)


def test_a_list_of_a_data_set_that_is_nested_without_end_is_refused(tmp_path):
    fill(tmp_path / "dfdc", ["metadata.json"], _DEEP)
    with pytest.raises(InvalidInput, match=r"metadata\.json"):
        read_dataset(tmp_path / "dfdc", ReadOptions("dfdc"))
    faceforensics(tmp_path / "ff")
    fill(tmp_path / "ff", ["train.json"], _DEEP)
    with pytest.raises(InvalidInput, match=r"train\.json"):
        read_dataset(tmp_path / "ff")


def test_an_original_that_is_no_name_does_not_part_a_fake_from_it(tmp_path):
    fill(tmp_path, ["a.mp4", "b.mp4"])
    records = {
        "a.mp4": {"label": "REAL", "split": "train"},
        "b.mp4": {"label": "FAKE", "split": "train", "original": ["a.mp4"]},
    }
    (tmp_path / "metadata.json").write_text(json.dumps(records))
    with pytest.raises(InvalidInput, match=r"wanted the name of a clip as its original, got \['a\.mp4'\]"):
        read_dataset(tmp_path)


def test_a_folder_of_fakes_that_cannot_be_read_is_not_passed_over(tmp_path, monkeypatch):
    fill(tmp_path, ["real/a.mp4", "fake/swap/b.mp4"])
    scandir = os.scandir

    def closed(place):
        if os.fspath(place).endswith("swap"):
            raise PermissionError(13, "Permission denied", os.fspath(place))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(InvalidInput, match="swap: cannot be read: Permission denied"):
        read_dataset(tmp_path)
