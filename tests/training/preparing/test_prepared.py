from __future__ import annotations

import json

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.training.datasets.entries import ClipEntry
from deepfake_edge.training.preparing.prepared import LeftOut, read_prepared
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.store import start, write_clip
from training.prepared_data import make_prepared


@pytest.fixture
def prepared(tmp_path):
    return make_prepared(tmp_path / "prepared", clips=1, frames=6)


def test_what_is_written_is_read_again(prepared):
    assert [clip.id for clip in prepared.clips] == [f"made-{label}-00{n}" for label in ("fake", "real") for n in "012"]
    assert [clip.entry.label for clip in prepared.of("val")] == ["fake", "real"]
    clip = prepared.clips[0]
    assert clip.seen == (True, True, True, False, True, True)
    assert clip.landmarks[3] is None
    assert len(clip.landmarks[0]) == 5
    pictures = clip.pictures()
    assert len(pictures) == 6
    assert all(picture.dtype == np.uint8 and max(picture.shape) == 96 for picture in pictures)
    assert np.array_equal(clip.pictures([4])[0], pictures[4])


def test_a_clip_that_is_left_out_keeps_its_reason(prepared):
    entry = ClipEntry("real/\udcff9.mp4", "real", "test", "made", None, (), "9")
    gone = LeftOut(entry, prepared.folder / "clips" / "made-real-9", "no face in it")
    write_clip(gone)
    assert read_prepared(prepared.folder).left_out == (gone,)


def test_other_settings_are_refused(prepared):
    start(prepared.folder, prepared.settings)
    with pytest.raises(InvalidInput, match=r"frames 6 \(now 7\), finder haar \(now yunet\)"):
        start(prepared.folder, Settings(7, "consecutive", 12.0, None, "yunet", 96))


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InvalidInput, match="was not made by prepare"):
        start(tmp_path, Settings())
    with pytest.raises(InvalidInput, match="deepfake-edge prepare"):
        read_prepared(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read"),
        (b"[]", "wanted an object"),
        (b'{"left_out": null}', "is damaged"),
        (b'{"left_out": null, "pictures": [{}]}', "is damaged"),
    ],
)
def test_a_damaged_record_is_named(prepared, content, words):
    path = prepared.clips[0].folder / "clip.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=words) as raised:
        read_prepared(prepared.folder)
    assert str(path) in str(raised.value)


def test_another_format_is_refused(prepared):
    index = prepared.folder / "prepared.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "format": 2}))
    with pytest.raises(InvalidInput, match="wanted format 1, found 2"):
        read_prepared(prepared.folder)


def test_a_picture_that_is_gone_is_named(prepared):
    clip = prepared.clips[0]
    (clip.folder / "002.png").unlink()
    with pytest.raises(SourceError, match=r"002\.png"):
        clip.pictures()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": 0}, "frames"),
        ({"spacing": "random"}, "spacing"),
        ({"fps": 12.0}, "--consecutive"),
        ({"spacing": "consecutive"}, "fps"),
        ({"seconds": 0.0}, "seconds"),
        ({"most_px": 16}, "most_px"),
    ],
)
def test_settings_out_of_range_are_refused(changes, words):
    with pytest.raises(InvalidInput, match=words):
        Settings(**changes)
