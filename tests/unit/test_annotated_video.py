"""The written video: right size, right duration, and never half of one."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from deepfake_edge.data import Frame, Moment
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.sinks import annotated_video, window
from deepfake_edge.sinks.annotated_video import AnnotatedVideo


def moment(time_s, level=100, size=(48, 64)):
    return Moment(Frame(0, time_s, np.full((*size, 3), level, np.uint8)), (), ())


def read(path):
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    fps, frames = capture.get(cv2.CAP_PROP_FPS), []
    while (got := capture.read())[0]:
        frames.append(got[1])
    capture.release()
    return fps, frames


def levels(path):
    return [round(float(frame.mean()) / 50) * 50 for frame in read(path)[1]]


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".avi", ".MP4"])
def test_frames_come_back(tmp_path, suffix):
    path = tmp_path / f"out{suffix}"
    with AnnotatedVideo(path, 0.5, 10.0) as video:
        for index in range(5):
            video.show(moment(index / 10))
        assert not path.exists()
    fps, frames = read(path)
    assert fps == pytest.approx(10.0, rel=0.01)
    assert len(frames) == 5
    assert frames[0].shape == (48, 64, 3)
    assert abs(float(frames[2].mean()) - 100) < 4
    assert list(tmp_path.iterdir()) == [path]


def test_time_decides_how_often_a_frame_is_repeated(tmp_path):
    path = tmp_path / "out.mp4"
    with AnnotatedVideo(path, 0.5, 10.0) as video:
        for time_s, level in ((5.0, 50), (5.1, 100), (5.5, 150), (5.6, 200)):
            video.show(moment(time_s, level))
    assert levels(path) == [50, 100, 100, 100, 100, 150, 200]


def test_more_frames_than_the_rate_are_skipped(tmp_path):
    path = tmp_path / "out.mp4"
    with AnnotatedVideo(path, 0.5, 10.0) as video:
        for index in range(101):
            video.show(moment(index / 100))
    assert len(read(path)[1]) == 11


def test_a_rate_that_is_no_whole_number_keeps_the_duration(tmp_path):
    path = tmp_path / "out.mp4"
    with AnnotatedVideo(path, 0.5, 30000 / 1001) as video:
        for index in range(120):
            video.show(moment(index / 12))
    fps, frames = read(path)
    assert len(frames) / fps == pytest.approx(10.0, abs=0.1)


def test_a_long_hole_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated_video, "MAX_HOLD_S", 1.0)
    path = tmp_path / "out.mp4"
    with AnnotatedVideo(path, 0.5, 10.0) as video:
        video.show(moment(0.0, 50))
        video.show(moment(1e7, 150))
        video.show(moment(1e7 + 0.1, 200))
    assert levels(path) == [50] * 10 + [150, 200]


def test_other_sizes_are_letterboxed(tmp_path):
    path = tmp_path / "out.avi"
    with AnnotatedVideo(path, 0.5, 10.0) as video:
        video.show(moment(0.0, 200, (48, 64)))
        video.show(moment(0.1, 200, (96, 64)))
        video.show(moment(0.2, 200, (7, 640)))
    frames = read(path)[1]
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert frames[1][:, :12].mean() < 10
    assert frames[1][:, 20:44].mean() > 190


def test_odd_sizes_become_even(tmp_path):
    path = tmp_path / "out.mp4"
    with AnnotatedVideo(path, 0.5, 10.0) as video:
        video.show(moment(0.0, 200, (47, 63)))
    frames = read(path)[1]
    assert frames[0].shape == (48, 64, 3)
    assert frames[0][:46, :62].mean() > 190


def test_after_an_error_the_old_file_is_there(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")

    def fail():
        with AnnotatedVideo(path, 0.5, 10.0) as video:
            video.show(moment(0.0))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_a_frame_nothing_appears(tmp_path):
    AnnotatedVideo(tmp_path / "out.mp4", 0.5, 10.0).close()
    assert list(tmp_path.iterdir()) == []


def test_closing_twice_and_showing_after(tmp_path):
    video = AnnotatedVideo(tmp_path / "out.mp4", 0.5, 10.0)
    video.show(moment(0.0))
    video.close()
    video.close()
    with pytest.raises(InvalidInput, match="closed"):
        video.show(moment(0.1))


@pytest.mark.parametrize("name", ["out", "out.mkv", "out.txt"])
def test_an_unknown_suffix_is_refused_at_once(tmp_path, name):
    with pytest.raises(InvalidInput, match=r"\.mp4"):
        AnnotatedVideo(tmp_path / name, 0.5, 10.0)


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(SourceError, match="cannot be written"):
        AnnotatedVideo(tmp_path / "absent" / "out.mp4", 0.5, 10.0)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(SourceError, match="folder"):
        AnnotatedVideo(tmp_path / "folder.mp4", 0.5, 10.0)


def test_a_missing_encoder_is_told_at_once(tmp_path, monkeypatch):
    monkeypatch.setitem(annotated_video.CODECS, ".mp4", ("none",))
    with pytest.raises(MissingDependency, match="encode"):
        AnnotatedVideo(tmp_path / "out.mp4", 0.5, 10.0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_does_not_read_back_is_an_error(tmp_path):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    video = AnnotatedVideo(path, 0.5, 10.0)
    video.show(moment(0.0))
    video._written += 10
    with pytest.raises(SourceError, match="disk full"):
        video.close()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), 1000.0])
def test_a_rate_out_of_range_is_refused(tmp_path, fps):
    with pytest.raises(InvalidInput, match="fps"):
        AnnotatedVideo(tmp_path / "out.mp4", 0.5, fps)


def test_without_a_display_a_window_is_refused(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    window.available.cache_clear()
    with pytest.raises(MissingDependency, match="--no-window"):
        window.Window("test", 0.5)
    window.available.cache_clear()


def test_a_display_that_does_not_answer_is_no_display(monkeypatch):
    """Qt would end this process here; it ends the trial's instead."""
    monkeypatch.setenv("DISPLAY", ":87")
    window.available.cache_clear()
    assert window.available() is False
    window.available.cache_clear()


def test_a_name_that_is_not_utf8_is_refused_rather_than_crashed_on(tmp_path):
    with pytest.raises(SourceError, match="not UTF-8"):
        AnnotatedVideo(tmp_path / os.fsdecode(b"a\xff.mp4"), 0.5, 10.0)
    assert list(tmp_path.iterdir()) == []
