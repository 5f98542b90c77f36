from __future__ import annotations

import json
from collections import Counter

import pytest

from deepfake_edge.errors import InvalidInput
from training.datasets import trees
from training.datasets.found import no_one_is_in_two, read


def test_dfdc_keeps_an_original_and_its_fakes_together(tmp_path):
    found = read(trees.dfdc(tmp_path, parts=30))
    assert Counter(entry.label for entry in found.entries) == {"real": 60, "fake": 60}
    assert no_one_is_in_two(found)
    assert {entry.split for entry in found.entries} == {"train", "val", "test"}
    fake = next(entry for entry in found.entries if entry.source.endswith("/a7fake.mp4"))
    assert fake.group == "a7.mp4"


def test_dfdc_fakes_without_an_original_are_counted(tmp_path):
    path = trees.dfdc(tmp_path, parts=2) / "dfdc_train_part_1" / "metadata.json"
    assert not any("without an original" in note for note in read(tmp_path).notes)
    records = json.loads(path.read_text())
    del records["a1fake.mp4"]["original"]
    records["b1fake.mp4"]["original"] = None
    path.write_text(json.dumps(records))
    assert any(note.startswith("fakes without an original in metadata.json: 2;") for note in read(tmp_path).notes)


def test_a_published_part_of_dfdc_stays(tmp_path):
    trees.dfdc(tmp_path, parts=2)
    path = tmp_path / "dfdc_train_part_1" / "metadata.json"
    path.write_text(path.read_text().replace('"train"', '"test"'))
    found = read(tmp_path)
    assert {entry.split for entry in found.entries if "part_1" in entry.source} == {"test"}
    assert {entry.split for entry in found.entries if "part_0" in entry.source} <= {"train", "val"}


def test_the_published_validation_and_test_parts_of_dfdc(tmp_path):
    trees.dfdc(tmp_path / "train", parts=2)
    trees.fill(tmp_path, ["validation/c.mp4", "validation/d.mp4", "test/e.mp4", "test/f.mp4"])
    (tmp_path / "validation/labels.csv").write_text("filename,label\nc.mp4,1\nd.mp4,0\n")
    (tmp_path / "test/labels.csv").write_text("filename,label\n")
    records = {"e.mp4": {"is_fake": 1, "augmentations": {}}, "f.mp4": {"is_fake": 0}, "gone.mp4": {"is_fake": 1}}
    (tmp_path / "test/metadata.json").write_text(json.dumps(records))
    found = read(tmp_path)
    assert {(entry.source, entry.label, entry.split) for entry in found.entries if "part" not in entry.source} == {
        ("validation/c.mp4", "fake", "val"),
        ("validation/d.mp4", "real", "val"),
        ("test/e.mp4", "fake", "test"),
        ("test/f.mp4", "real", "test"),
    }
    assert {entry.split for entry in found.entries if "part" in entry.source} == {"train"}
    assert "1 clips that metadata.json or labels.csv tells of are not in the folder" in found.notes


@pytest.mark.parametrize("table", ["", "filename,label\nc.mp4\n", "filename,label\nc.mp4,fake\n"])
def test_a_damaged_table_is_named(tmp_path, table):
    trees.fill(tmp_path, ["validation/c.mp4"])
    (tmp_path / "validation/labels.csv").write_text(table)
    with pytest.raises(InvalidInput, match=r"labels\.csv: .*wanted"):
        read(tmp_path, kind="dfdc")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read"),
        (b"[]", "wanted an object"),
        (b"{}", r"does not tell of clips beside it: a0\.mp4"),
        (json.dumps({f"{name}.mp4": {"label": "FALSE"} for name in ("a0", "a0fake", "b0", "b0fake")}).encode(),
         "wanted a label of REAL, FAKE"),
    ],
)  # fmt: skip
def test_damaged_metadata_is_named(tmp_path, content, words):
    (trees.dfdc(tmp_path) / "dfdc_train_part_0/metadata.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        read(tmp_path)
