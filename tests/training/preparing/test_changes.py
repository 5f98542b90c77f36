"""The same folder again, when something is not as it was."""

from __future__ import annotations

import json
import os
import resource

import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.reading import read_dataset
from deepfake_edge.training.preparing.prepared import read_prepared
from deepfake_edge.training.preparing.preparing import prepare
from deepfake_edge.training.preparing.settings import Settings
from training.datasets import trees

SETTINGS = Settings(frames=3, finder="whole", most_px=64)


@pytest.mark.parametrize("change", ["another size", "the same size, written later"])
def test_a_clip_that_was_replaced_is_done_again(plain, tmp_path, tiny, caplog, change):
    before = prepare(read_dataset(plain), tmp_path / "out", SETTINGS)
    path, half = plain / "train/real/1.avi", len(tiny) // 2
    path.write_bytes(tiny[:half] + bytes(0 if change == "another size" else len(tiny) - half))
    os.utime(path, (1e9, 1e9) if change == "another size" else (3e9, 3e9))
    after = prepare(read_dataset(plain), tmp_path / "out", SETTINGS)
    assert "1, such as train/real/1.avi" in caplog.text
    assert [clip.entry for clip in after.clips] == [clip.entry for clip in before.clips]
    (old,) = (clip for clip in before.clips if clip.entry.source == "train/real/1.avi")
    (new,) = (clip for clip in after.clips if clip.entry.source == "train/real/1.avi")
    assert new.times_s[-1] < old.times_s[-1]
    caplog.clear()
    prepare(read_dataset(plain), tmp_path / "out", SETTINGS)
    assert caplog.text == ""


def test_a_clip_of_the_future_is_done_once(plain, tmp_path, caplog):
    os.utime(plain / "train/real/1.avi", (4e9, 4e9))
    for _ in range(2):
        prepare(read_dataset(plain), tmp_path / "out", SETTINGS)
    assert caplog.text == ""


@pytest.mark.parametrize(("name", "known"), [("b0.mp4", {"label": "FAKE"}), ("b0fake.mp4", {"original": "a0.mp4"})])
def test_what_was_put_right_is_put_right_in_the_folder(tmp_path, tiny, name, known):
    videos = trees.dfdc(tmp_path / "videos", tiny)
    path = videos / "dfdc_train_part_0" / "metadata.json"
    path.write_text(path.read_text().replace('"train"', '"test"'))
    prepare(read_dataset(videos), tmp_path / "out", SETTINGS)
    records = json.loads(path.read_bytes())
    records[name] |= known
    path.write_text(json.dumps(records))
    prepared = prepare(read_dataset(videos), tmp_path / "out", SETTINGS)
    assert {clip.entry for clip in prepared.clips} == set(read_dataset(videos).entries)


@pytest.mark.parametrize("place", ["train", "train/fake/faces", "train/new/faces"])
def test_face_pictures_are_not_written_among_the_clips(plain, place):
    with pytest.raises(InvalidInput, match="where clips are looked for"):
        prepare(read_dataset(plain), plain / place, SETTINGS)
    assert not (plain / place / "prepared.json").exists()
    assert prepare(read_dataset(plain), plain / "faces", SETTINGS).clips


def test_a_prepared_folder_does_not_lie_in_another(plain, tmp_path):
    prepare(read_dataset(plain), tmp_path / "out", SETTINGS)
    for place in (tmp_path / "out" / "more", tmp_path / "out" / "clips" / "more"):
        with pytest.raises(InvalidInput, match=r"lies in .*out, which prepare made"):
            prepare(read_dataset(plain), place, SETTINGS)
    assert len(read_prepared(tmp_path / "out").clips) == 4


def test_a_file_is_no_folder(plain, tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(InvalidInput, match="out: is not a folder"):
        prepare(read_dataset(plain), tmp_path / "out", SETTINGS)


def test_where_nothing_can_be_written_is_said_and_nothing_is_left_half_written(plain, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*out/clips/"):
            prepare(read_dataset(plain), tmp_path / "out", SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "out" / "clips").iterdir()) == []
    assert len(prepare(read_dataset(plain), tmp_path / "out", SETTINGS).clips) == 4


def test_the_reason_names_the_file_as_the_data_set_does(tmp_path, monkeypatch):
    trees.fill(tmp_path / "mine", ["real/broken.mp4", "real/empty.avi"], b"no video")
    (tmp_path / "mine/real/empty.avi").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    prepared = prepare(read_dataset(type(tmp_path)("mine")), tmp_path / "out", SETTINGS)
    reasons = {clip.entry.source: clip.reason for clip in prepared.left_out}
    assert reasons["real/empty.avi"] == "is empty"
    assert reasons["real/broken.mp4"].startswith("is text")
