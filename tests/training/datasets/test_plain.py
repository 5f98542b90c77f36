"""Folders of one's own clips, with what is found in them."""

from __future__ import annotations

import os

import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.reading import ReadOptions, read_dataset
from training.datasets import trees


def sources(folder):
    return [entry.source for entry in read_dataset(folder).entries]


def test_an_original_and_its_fake_are_not_parted_where_val_is_drawn(tmp_path):
    places = ["train/real", "train/fake/swap", "test/real", "test/fake/swap"]
    found = read_dataset(trees.fill(tmp_path, [f"{place}/{n}.mp4" for place in places for n in range(40)]))
    assert len(found.entries) == 160, "clips of one name in two split folders are not one person"
    of_name = {}
    for entry in found.entries:
        if not entry.source.startswith("test"):
            of_name.setdefault(entry.name, set()).add(entry.split)
    assert {len(splits) for splits in of_name.values()} == {1}
    assert {"train", "val"} == set.union(*of_name.values())


def test_an_original_and_its_fake_are_not_parted_where_all_is_drawn(tmp_path):
    trees.fill(tmp_path, [f"{place}/{n}.mp4" for place in ("train/real", "test/fake") for n in range(40)])
    of_name = {}
    for entry in read_dataset(tmp_path, ReadOptions(splits="drawn")).entries:
        of_name.setdefault(entry.name, set()).add(entry.split)
    assert {len(splits) for splits in of_name.values()} == {1}


def test_only_what_is_drawn_is_said_to_be(tmp_path):
    trees.fill(
        tmp_path, [f"{split}/{label}/{n}.mp4" for split in ("train", "val") for label in ("real", "fake") for n in "12"]
    )
    found = read_dataset(tmp_path)
    assert {entry.split for entry in found.entries} == {"train", "val"}
    assert found.notes == (f"{tmp_path.name}: no clip is in test",)


def test_odd_names_and_endings(tmp_path):
    names = ["fake/a b/ünï 名前.MP4", f"fake/deep/er/{'n' * 240}.mp4", "real/a b/c.JPG", "real/ünï 名前.MoV"]
    trees.fill(tmp_path, [*names, "real/.hidden.mp4", "real/notes.txt"])
    assert sources(tmp_path) == names
    assert [entry.manipulation for entry in read_dataset(tmp_path).entries] == ["a b", "deep", None, None]


def test_links_are_followed_each_folder_once(tmp_path):
    trees.fill(tmp_path, ["mine/real/1.mp4", "mine/fake/2.mp4", "disk/swap/3.mp4"])
    (tmp_path / "mine/fake/swap").symlink_to(tmp_path / "disk/swap")
    (tmp_path / "mine/fake/twice").symlink_to("swap")
    trees.fill(tmp_path, ["mine/fake/new/5.mp4"])
    (tmp_path / "mine/fake/again").symlink_to("new")
    (tmp_path / "mine/real/up").symlink_to("..")
    (tmp_path / "mine/real/4.mp4").symlink_to("1.mp4")
    assert sources(tmp_path / "mine") == ["fake/2.mp4", "fake/new/5.mp4", "fake/swap/3.mp4", "real/1.mp4", "real/4.mp4"]


def test_a_link_to_nothing_is_said(tmp_path):
    trees.fill(tmp_path, ["real/1.mp4"])
    (tmp_path / "real/2.mp4").symlink_to("/not/mounted.mp4")
    with pytest.raises(InvalidInput, match=r"links to files that are not there: .*real/2\.mp4; mount"):
        read_dataset(tmp_path)


def test_a_file_that_is_real_and_fake_is_said(tmp_path):
    for name, content in {"real/a": b"one", "real/b": b"two", "fake/c": b"one", "fake/d": b"x"}.items():
        trees.fill(tmp_path, [f"train/{name}.mp4"], content)
    for path in tmp_path.glob("train/*/*.mp4"):
        os.utime(path, (1e9, 1e9))
    trees.fill(tmp_path, ["train/real/empty.mp4", "train/fake/empty.mp4", "val/real/v.mp4", "test/real/t.mp4"])
    notes = [note for note in read_dataset(tmp_path).notes if note.startswith("copies")]
    assert notes == ["copies of one file that are both real and fake: 1, such as train/fake/c.mp4 and train/real/a.mp4"]


def test_a_file_that_is_in_two_splits_is_said(tmp_path):
    trees.fill(tmp_path, ["train/real/a.mp4", "test/real/b.mp4", "train/real/c.mp4"], b"one")
    trees.fill(tmp_path, ["test/real/d.mp4"], b"two")
    notes = [note for note in read_dataset(tmp_path).notes if note.startswith("copies")]
    assert notes == ["copies of one file that are in two splits: 2, such as test/real/b.mp4 and train/real/a.mp4"]
