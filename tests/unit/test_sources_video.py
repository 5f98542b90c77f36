from __future__ import annotations

import itertools
import json
import os
import struct
import time

import cv2
import numpy as np
import pytest

from deepfake_edge.containers import Promise, read_promise
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.sources.video import VideoFile

FRAMES = 30


def write_video(path, frames=FRAMES, fps=20.0, size=(64, 48), codec="mp4v"):
    """Noise, so that no frame is free; frame i has a corner of brightness i * 8."""
    rng = np.random.default_rng(0)
    plain = path.with_name("plain" + path.suffix)
    writer = cv2.VideoWriter(str(plain), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, size)
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {codec} into {path.suffix}")
    for index in range(frames):
        picture = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        picture[:16, :16] = min(index * 8, 255)
        writer.write(picture)
    writer.release()
    plain.rename(path)
    return path


def damage(path, start, stop, value=None):
    data = np.fromfile(path, np.uint8)
    first, last = int(start * data.size), int(stop * data.size)
    data[first:last] = np.random.default_rng(0).integers(0, 256, last - first) if value is None else value
    data.tofile(path)


def cut(path, share):
    os.truncate(path, int(path.stat().st_size * share))


def read(path, **options):
    with VideoFile(path, **options) as source:
        frames = list(source.frames())
    return source, frames


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".mov", "mp4v"), (".avi", "MJPG"), (".mkv", "mp4v")])
def test_a_whole_file_is_complete(tmp_path, suffix, codec):
    source, frames = read(write_video(tmp_path / f"clip{suffix}", codec=codec))
    assert (source.complete, source.incomplete_reason, source.is_still) == (True, None, False)
    assert len(frames) == source.frame_count == FRAMES
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert [frame.time_s for frame in frames] == pytest.approx([index / 20 for index in range(FRAMES)], abs=1e-3)
    assert [frame.pixels[4, 4].mean() // 8 for frame in frames[:20:5]] == pytest.approx([0, 5, 10, 15], abs=1.5)


def test_frames_are_not_overwritten(tmp_path):
    _, frames = read(write_video(tmp_path / "clip.mp4"))
    assert len({frame.pixels.ctypes.data for frame in frames}) == FRAMES
    assert frames[0].pixels.shape == (48, 64, 3)


@pytest.mark.parametrize(
    "name", ["ünï cødé 视频.mp4", "with space.mp4", "img_%02d.mp4", "100%.mp4", "-y.mp4", "concat:a|b.mp4", "no_suffix"]
)
def test_names_are_only_names(tmp_path, monkeypatch, name):
    made = write_video(tmp_path / "made.mp4", frames=3)
    made.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(read(name)[1]) == 3


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mp4"])
def test_a_file_that_was_cut_off_is_incomplete(tmp_path, suffix):
    path = write_video(tmp_path / f"clip{suffix}", codec="MJPG" if suffix == ".avi" else "mp4v")
    if suffix == ".mp4":
        move_index_to_front(path)
    cut(path, 0.6)
    source, frames = read(path)
    assert 0 < len(frames) < FRAMES
    assert not source.complete
    assert source.incomplete_reason == f"the file is cut short: {len(frames)} of {FRAMES} frames could be decoded"


def move_index_to_front(path):
    """As for streaming: ftyp, moov, mdat, so that a cut leaves the index."""
    data, boxes, position = path.read_bytes(), {}, 0
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        boxes[kind] = data[position : position + length]
        position += length
    moov = bytearray(boxes[b"moov"])
    table = moov.index(b"stco") + 8
    before = data.index(boxes[b"mdat"])
    shift = len(boxes[b"ftyp"]) + len(moov) - before
    for entry in range(struct.unpack_from(">I", moov, table)[0]):
        place = table + 4 + 4 * entry
        struct.pack_into(">I", moov, place, struct.unpack_from(">I", moov, place)[0] + shift)
    path.write_bytes(boxes[b"ftyp"] + bytes(moov) + boxes[b"mdat"])


@pytest.mark.parametrize(("start", "stop"), [(0.4, 0.5), (0.7, 0.75)])
def test_lost_frames_in_the_middle_of_a_counting_container(tmp_path, start, stop):
    path = write_video(tmp_path / "clip.mp4")
    damage(path, start, stop)
    source, frames = read(path)
    assert 0 < len(frames) < FRAMES
    assert source.incomplete_reason == f"{len(frames)} of {FRAMES} frames could be decoded"


def test_an_early_end_of_an_estimating_container(tmp_path):
    path = write_video(tmp_path / "clip.avi", frames=100, codec="MJPG")
    damage(path, 0.4, 0.9)
    source, frames = read(path)
    assert len(frames) < 60
    assert source.incomplete_reason.startswith("the pictures end at ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://example.invalid/a.ts\n", "playlist"),
        (b"\xef\xbb\xbf\n  #EXTM3U\0\n", "playlist"),
        (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "playlist"),
        (b"v=0\r\nm=video 5004 RTP/AVP 96\r\n", "playlist"),
        (b"<?xml version='1.0'?><MPD/>", "playlist"),
        (b"just words\n" * 50, "text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "picture"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "picture"),
        (np.random.default_rng(0).bytes(4096), "not a video that FFmpeg can open"),
        (b"\0\0\0\x18ftypisom" + bytes(300), "not a video that FFmpeg can open"),
    ],
)
def test_what_is_no_video_is_one_line_and_quick(tmp_path, content, says):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    started = time.monotonic()
    with pytest.raises(SourceError, match=says) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert time.monotonic() - started < 5


def test_no_frame_decodes(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=3)
    data = path.read_bytes()
    start = data.index(b"mdat") + 4
    path.write_bytes(data[:start] + bytes(data.index(b"moov") - 4 - start) + data[data.index(b"moov") - 4 :])
    with pytest.raises(SourceError, match="no frame of it could be decoded"):
        read(path)


@pytest.mark.parametrize("path", ["rtsp://user:secret@camera/1", "http://host/a.mp4", "file:///etc/passwd"])
def test_urls_are_refused_and_not_repeated(path):
    with pytest.raises(SourceError, match="got a URL") as caught:
        VideoFile(path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "says"), [("none.mp4", "does not exist"), (".", "is not a regular file")])
def test_only_regular_files(tmp_path, name, says):
    with pytest.raises(SourceError, match=says):
        VideoFile(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(SourceError, match="is not a regular file"):
        VideoFile(tmp_path / "clip.mp4")


def test_a_sequence_pattern_is_refused(tmp_path):
    write_video(tmp_path / "clip.mp4", frames=2).rename(tmp_path / "img_%02d.jpg")
    with pytest.raises(SourceError, match="sequence of pictures"):
        VideoFile(tmp_path / "img_%02d.jpg")


def test_too_many_pixels_are_refused_when_it_is_opened(tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=2)
    with pytest.raises(SourceError, match="64x48 are more than the 1000 pixels"), VideoFile(path, max_pixels=1000):
        pytest.fail("it opened")
    with pytest.raises(InvalidInput, match="max_pixels"):
        VideoFile(path, max_pixels=0)


def test_frames_only_once_and_inside_with(tmp_path):
    source = VideoFile(write_video(tmp_path / "clip.mp4", frames=2))
    with pytest.raises(InvalidInput, match="inside `with`"):
        next(source.frames())
    with source:
        list(source.frames())
        with pytest.raises(InvalidInput, match="one call"):
            next(source.frames())


def test_stopping_early_releases_the_file_and_is_not_complete(tmp_path):
    with VideoFile(write_video(tmp_path / "clip.mp4")) as source:
        frames = source.frames()
        next(frames)
        frames.close()
        assert source._capture is None
    assert (source.complete, source.incomplete_reason) == (False, "its end was not reached")


def test_an_error_inside_with_releases_the_file(tmp_path):
    source = VideoFile(write_video(tmp_path / "clip.mp4"))

    def consume():
        with source:
            next(source.frames())
            raise RuntimeError("consumer")

    with pytest.raises(RuntimeError, match="consumer"):
        consume()
    assert source._capture is None


def test_leaving_with_ends_a_suspended_generator(tmp_path):
    with VideoFile(write_video(tmp_path / "clip.mp4")) as source:
        frames = source.frames()
        next(frames)
    assert list(frames) == []
    assert not source.complete


def box(kind, *content):
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


@pytest.mark.parametrize(
    ("edits", "counted", "shown_s"),
    [
        ([], True, None),
        ([(3000, 1024)], True, None),
        ([(500, -1), (3000, 0)], True, None),
        ([(1000, 4096)], False, 1.0),
    ],
)
def test_an_edit_list_that_leaves_frames_out_is_no_frame_count(tmp_path, edits, counted, shown_s):
    movie = struct.pack(">IIIII", 0, 0, 0, 1000, 3000)
    media = struct.pack(">IIIII", 0, 0, 0, 12800, 38400)
    table = box(b"elst", struct.pack(">II", 0, len(edits)), *(struct.pack(">Iii", *edit, 1 << 16) for edit in edits))
    samples = box(b"minf", box(b"stbl", box(b"stsz", struct.pack(">III", 0, 100, 75))))
    parts = [box(b"edts", table)] if edits else []
    track = [*parts, box(b"mdia", box(b"mdhd", media), box(b"hdlr", bytes(8), b"vide", bytes(12)), samples)]
    path = tmp_path / "clip.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", movie), box(b"trak", *track)) + box(b"mdat"))
    promise = read_promise(path)
    assert (promise.truncated, promise.counted, promise.shown_s) == (False, counted, shown_s)


def test_a_fragmented_file_is_not_counted(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov") + box(b"moof") + box(b"mdat"))
    assert not read_promise(path).counted


@pytest.mark.parametrize("head", [b"\0\0\0\x18ftyp", b"RIFF\xff", b"\x1a\x45\xdf\xa3", b"\x1a\x45\xdf\xa3\0\0"])
def test_a_damaged_structure_promises_nothing(tmp_path, head):
    path = tmp_path / "clip"
    for length in (0, 1, 40):
        path.write_bytes(head + bytes(length))
        assert not read_promise(path).counted


def test_real_clips_are_complete(data_dir):
    for entry in json.loads((data_dir / "manifest.json").read_text())["videos"]:
        source, frames = read(data_dir / entry["file"])
        assert (entry["file"], source.incomplete_reason) == (entry["file"], None)
        assert len(frames) == entry["frames"]
        assert frames[-1].time_s == pytest.approx(entry["duration_s"], abs=0.1)


@pytest.mark.parametrize(
    ("name", "count", "last_s", "shape", "reason"),
    [
        ("rotate90_metadata_intel_male.mp4", 62, 61 / 12, (480, 270, 3), None),
        ("vp9_two_tilt_intel.webm", 56, 55 / 12, (270, 480, 3), None),
        ("vfr_two_tilt_intel.mp4", 26, 4.5, (270, 480, 3), None),
        ("one_frame_intel_male.mp4", 1, 0.0, (270, 480, 3), None),
        ("truncated_intel_female.mp4", 7, 0.5, (270, 480, 3), "the file is cut short: 7 of 23 frames could be decoded"),
    ],
)
def test_edge_files(data_dir, name, count, last_s, shape, reason):
    source, frames = read(data_dir / "edge" / name)
    assert (len(frames), frames[0].pixels.shape, source.incomplete_reason) == (count, shape, reason)
    assert frames[0].time_s == 0.0
    assert frames[-1].time_s == pytest.approx(last_s, abs=2e-3)


@pytest.mark.parametrize("name", ["audio_only", "garbage", "zero_bytes", "truncated_no_moov_intel_female"])
def test_edge_files_that_fail(data_dir, name):
    with pytest.raises(SourceError):
        read(data_dir / "edge" / f"{name}.mp4")


def test_a_variable_rate_keeps_its_own_times(data_dir):
    _, frames = read(data_dir / "edge" / "vfr_two_tilt_intel.mp4")
    steps = {round((after.time_s - before.time_s) * 12) for before, after in itertools.pairwise(frames)}
    assert steps == {1, 2, 3}


def test_a_name_that_is_not_utf8_is_refused_rather_than_crashed_on(tmp_path):
    path = write_video(tmp_path / "clip.mp4").rename(tmp_path / os.fsdecode(b"a\xff.mp4"))
    with pytest.raises(SourceError, match="not UTF-8"):
        VideoFile(path)


@pytest.mark.parametrize("kind", [b"mvhd", b"mdhd"])
def test_a_box_that_is_missing_promises_nothing(tmp_path, kind):
    path = tmp_path / "clip.mp4"
    edits = box(b"edts", box(b"elst", struct.pack(">II", 0, 1), struct.pack(">Iii", 1000, 4096, 1 << 16)))
    media = box(b"mdia", box(b"mdhd", struct.pack(">IIIII", 0, 0, 0, 12800, 38400)), box(b"hdlr", bytes(8), b"vide"))
    movie = box(b"moov", box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, 1000, 3000)), box(b"trak", edits, media))
    path.write_bytes((box(b"ftyp", b"isom") + movie).replace(kind, b"xxxx"))
    assert read_promise(path) == Promise()
