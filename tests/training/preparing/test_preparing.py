from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.choices import open_source
from deepfake_edge.errors import InferenceError, InvalidInput
from deepfake_edge.optional import require
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from deepfake_edge.training.datasets.reading import ReadOptions, read_dataset
from deepfake_edge.training.preparing.prepared import read_prepared
from deepfake_edge.training.preparing.preparing import prepare
from deepfake_edge.training.preparing.settings import Settings
from training.datasets import trees

cv2 = require("cv2")
SETTINGS = Settings(frames=4, finder="haar", most_px=4096)


def read(folder, **options):
    return read_dataset(folder, ReadOptions(**options))


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_clip_becomes_face_pictures(plain, tmp_path):
    calls = []
    prepared = prepare(read(plain), tmp_path / "out", SETTINGS, progress=lambda *call: calls.append(call))
    assert calls == [(n, 4) for n in (1, 2, 3, 4)]
    assert {clip.entry.source for clip in prepared.clips} == {
        f"train/{name}.avi" for name in ("real/1", "real/2", "fake/1", "fake/2")
    }
    clip = next(clip for clip in prepared.clips if clip.entry.source == "train/real/1.avi")
    assert (clip.entry.label, clip.entry.dataset, clip.entry.identities, len(clip.times_s)) == ("real", "clips", (), 4)
    assert clip.times_s == pytest.approx((0.0, 0.3, 0.6, 0.9), abs=1e-3)
    with open_source(plain / clip.entry.source, 10.0) as source:
        frames = [frame.pixels for frame in source.frames()]
    # The pictures are the decoder's own pixels: a crop is found in the frame it came from.
    spec = CropSpec(32, mean=(0.0,) * 3, scale=(1.0,) * 3)
    for place, picture, box in zip((0, 3, 6, 9), clip.pictures(), clip.boxes, strict=True):
        height, width = picture.shape[:2]
        match = cv2.matchTemplate(frames[place], picture, cv2.TM_SQDIFF)
        _, _, (x, y), _ = cv2.minMaxLoc(match)
        assert np.array_equal(frames[place][y : y + height, x : x + width], picture)
        there = np.array([[box[0] + x, box[1] + y, box[2] + x, box[3] + y]], np.float32)
        here = np.array([box], np.float32)
        assert np.array_equal(crop_batch(picture, here, spec), crop_batch(frames[place], there, spec))


def test_a_second_run_does_nothing_and_a_gap_is_filled_with_the_same_bytes(plain, tmp_path):
    out = tmp_path / "out"
    prepared = prepare(read(plain), out, SETTINGS)
    before = digests(out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    prepare(read(plain), out, SETTINGS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == stamps
    for path in prepared.clips[2].folder.iterdir():
        path.unlink()
    prepared.clips[2].folder.rmdir()
    (out / "clips" / ".unfinished-abc").mkdir()
    prepare(read(plain), out, SETTINGS)
    assert digests(out) == before
    assert not (out / "clips" / ".unfinished-abc").exists()


def test_several_processes_give_the_same_bytes(plain, tmp_path):
    prepare(read(plain), tmp_path / "one", SETTINGS)
    prepare(read(plain), tmp_path / "two", SETTINGS, jobs=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


_RUN = """
import sys
from pathlib import Path
from deepfake_edge.training.datasets.reading import read_dataset
from deepfake_edge.training.preparing.preparing import prepare
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.prepared import read_prepared
if __name__ == "__main__":
    prepare(read_dataset(Path(sys.argv[1])), Path(sys.argv[2]), Settings(frames=4, finder="haar", most_px=4096), jobs=2)
"""


def test_a_killed_run_is_taken_up(tmp_path, tiny):
    clips = trees.fill(tmp_path / "clips", [f"train/real/{n}.avi" for n in range(9)], tiny)
    script, out = tmp_path / "run.py", tmp_path / "out"
    script.write_text(_RUN)
    process = subprocess.Popen([sys.executable, str(script), str(clips), str(out)])
    deadline = time.monotonic() + 120
    while len(list(out.glob("clips/*/clip.json"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = [path for path in out.glob("clips/*") if path.name[0] != "."]
    assert 2 <= len(done) < 9, "it was killed too late to show anything"
    assert all((path / "clip.json").is_file() for path in done)
    while any(_alive(child) for child in children):
        assert time.monotonic() < deadline, "a process outlived the one that was killed"
        time.sleep(0.05)
    assert len(prepare(read(clips), out, SETTINGS).clips) == 9
    prepare(read(clips), tmp_path / "at-once", SETTINGS)
    assert digests(out) == digests(tmp_path / "at-once")


def _alive(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_clips_without_a_face_and_damaged_ones_are_left_out_with_their_reason(plain, tmp_path):
    path = plain / "train/real/dark.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), 10.0, (64, 64))
    for _ in range(3):
        writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    trees.fill(plain, ["train/fake/broken.mp4"], b"no video")
    for _ in range(2):
        prepared = prepare(read(plain), tmp_path / "out", SETTINGS)
        reasons = {clip.entry.source: clip.reason for clip in prepared.left_out}
        assert reasons.pop("train/real/dark.avi") == "no face was found"
        assert reasons.pop("train/fake/broken.mp4").startswith("is text")
        assert reasons == {}
        assert len(prepared.clips) == 4


@pytest.mark.parametrize("damaged", ["same size", "another size"])
def test_a_clip_that_could_not_be_read_is_tried_again(tmp_path, tiny, damaged):
    clips = trees.fill(tmp_path / "clips", ["train/real/1.avi"], bytes(len(tiny) if damaged == "same size" else 9))
    out = tmp_path / "out"
    for _ in range(2):
        assert [clip.entry.source for clip in prepare(read(clips), out, SETTINGS).left_out] == ["train/real/1.avi"]
    prepared = prepare(read(trees.fill(clips, ["train/real/1.avi"], tiny)), out, SETTINGS)
    assert [clip.entry.source for clip in prepared.clips] == ["train/real/1.avi"]
    assert prepared.left_out == ()
    prepare(read(clips), tmp_path / "at-once", SETTINGS)
    assert digests(out) == digests(tmp_path / "at-once")


def test_a_reason_does_not_depend_on_where_the_data_set_lies(tmp_path, tiny, monkeypatch):
    opened = Path.open

    def closed(path, *args, **kwargs):
        if path.stem == "it's closed" and args == ("rb",):
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", closed)
    names = [b"it's closed.avi", b"broken.avi", b"no utf-8 \xff.avi"]
    found = []
    for place in ("hier", "dört"):
        clips = trees.fill(tmp_path / place / "clips", [f"real/{os.fsdecode(name)}" for name in names], b"no video")
        prepared = prepare(read(clips), tmp_path / place / "out", SETTINGS)
        assert len(prepared.left_out) == len(names)
        assert "[Errno 13] Permission denied" in str(prepared.left_out)
        assert not any(str(tmp_path) in clip.reason for clip in prepared.left_out)
        assert not any(clip.reason.count("cannot be read") > 1 for clip in prepared.left_out)
        found.append(digests(prepared.folder))
    assert found[0] == found[1]


def test_somebody_cannot_move_to_another_split(plain, tmp_path):
    prepare(read(plain), tmp_path / "out", SETTINGS)
    found = read(plain)
    other = {"train": "val", "val": "test", "test": "train"}
    moved = replace(found, entries=tuple(replace(entry, split=other[entry.split]) for entry in found.entries))
    with pytest.raises(InvalidInput, match="would be in another split"):
        prepare(moved, tmp_path / "out", SETTINGS)


def test_only_the_first_seconds_are_looked_at(plain, tmp_path):
    prepared = prepare(read(plain, most=1), tmp_path / "out", Settings(4, seconds=0.45, finder="haar"))
    assert prepared.clips[0].times_s == pytest.approx((0.0, 0.1, 0.3, 0.4), abs=1e-3)


def test_a_folder_in_use_is_refused(plain, tmp_path):
    def again(*_):
        with pytest.raises(InvalidInput, match="another process prepares it now"):
            prepare(read(plain), tmp_path / "out", SETTINGS)

    prepare(read(plain), tmp_path / "out", SETTINGS, progress=again)


@pytest.mark.parametrize("make", [trees.faceforensics, trees.celeb_df, trees.dfdc])
def test_real_layouts(make, tmp_path, tiny):
    found = read(make(tmp_path / "data", tiny), most=3)
    prepared = prepare(found, tmp_path / "out", Settings(2, finder="haar"))
    assert len(prepared.clips) == len(found.entries)
    assert {clip.entry for clip in prepared.clips} == set(found.entries)


def test_a_process_that_ends_is_a_typed_error(tmp_path, tiny):
    def kill_one(*_):
        multiprocessing.active_children()[0].kill()

    clips = trees.fill(tmp_path / "clips", [f"real/{n}.avi" for n in range(16)], tiny)
    with pytest.raises(InferenceError, match="fewer --jobs"):
        prepare(read(clips), tmp_path / "out", SETTINGS, jobs=2, progress=kill_one)
    assert len(read_prepared(tmp_path / "out").clips) < 16


def test_whoever_stops_it_leaves_no_process_behind(plain, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(read(plain), tmp_path / "out", SETTINGS, jobs=2, progress=stop)
    assert multiprocessing.active_children() == []
    assert len(prepare(read(plain), tmp_path / "out", SETTINGS).clips) == 4
