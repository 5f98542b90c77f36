"""Live sources: the latest frame wins, every loss is counted, and close always ends them."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.feed import Mailbox, Patience
from deepfake_edge.sources.live import LiveSource
from deepfake_edge.sources.video import VideoFile

QUICK = Patience(open_s=1.0, read_s=1.0, outage_s=1.0)


class FakeCapture:
    """Gives `frames` frames, `every_s` apart, then breaks off; hangs at frame `hangs_at` until `released`."""

    def __init__(self, frames: int | None, every_s: float = 0.0, hangs_at: int | None = None) -> None:
        self._frames = frames
        self._every_s = every_s
        self._hangs_at = hangs_at
        self.given = 0
        self.closed = False
        self.released = threading.Event()

    recorded_s = None

    def read(self):
        if self.given == self._hangs_at:
            self.released.wait(30.0)
            return None
        if self.given == self._frames:
            return None
        time.sleep(self._every_s)
        self.given += 1
        return np.full((4, 6, 3), self.given % 256, np.uint8)

    def missing(self, frames):
        return None

    def close(self):
        self.closed = True


def opens(*captures):
    """An opener that gives these one after the other; None is a failure, as is everything after the last."""
    left = list(captures)
    return lambda: left.pop(0) if left else None


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("test:")]


@pytest.fixture(autouse=True)
def _no_thread_stays():
    yield
    deadline = time.monotonic() + 3.0
    while readers() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert readers() == []


def clip(path: Path, frames: int = 10, fps: float = 20.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (64, 48))
    for index in range(frames):
        writer.write(np.full((48, 64, 3), index * 20 % 256, np.uint8))
    writer.release()
    return path


def test_a_slow_reader_gets_the_newest_frame_and_drops_are_counted():
    capture = FakeCapture(None, every_s=0.002)
    with LiveSource("test:fast", opener=opens(capture)) as live:
        frames = live.frames()
        first = next(frames)
        time.sleep(0.2)
        second = next(frames)
        time.sleep(0.01)
        assert second.index - first.index > 10
        # What was skipped between the two was counted; a frame that waits now may be one more.
        assert live.dropped >= second.index - first.index - 1
        assert 0.0 < second.time_s < 1.0
    assert capture.closed


def test_delay_is_the_time_since_arrival():
    with LiveSource("test:delay", opener=opens(FakeCapture(None, every_s=0.01))) as live:
        assert live.delay_s == 0.0
        frames = live.frames()
        next(frames)
        fresh_s = live.delay_s
        time.sleep(0.1)
        assert fresh_s < 0.05
        assert 0.1 <= live.delay_s < 0.3


def test_a_lost_source_is_found_again(caplog):
    caplog.set_level(logging.WARNING)
    captures = (FakeCapture(2), None, FakeCapture(3))
    with LiveSource("test:lost", patience=QUICK, opener=opens(*captures)) as live:
        times = [frame.time_s for frame in live.frames()]
    assert times == sorted(times)
    assert live.reconnects == 1
    assert not live.complete
    assert live.incomplete_reason == "broke off and did not come back within 1 s"
    assert all(capture.closed for capture in captures if capture)
    assert "is back" in caplog.text


def test_an_outage_that_was_mended_makes_it_incomplete():
    with LiveSource("test:mended", patience=QUICK, opener=opens(FakeCapture(2), FakeCapture(None, 0.01))) as live:
        for _ in live.frames():
            if live.reconnects:
                live.stop()
    assert live.incomplete_reason == "the source broke off 1 times"


def test_without_an_outage_a_stopped_stream_is_complete():
    with LiveSource("test:whole", opener=opens(FakeCapture(None, 0.01))) as live:
        next(live.frames())
    assert live.complete
    assert live.incomplete_reason is None


def test_nothing_to_open_is_an_error_at_once():
    started = time.monotonic()
    with LiveSource("test:nothing", opener=opens()) as live, pytest.raises(SourceError, match="cannot be opened"):
        next(live.frames())
    assert time.monotonic() - started < 1.0


def test_opened_without_a_frame_is_an_error():
    with (
        LiveSource("test:empty", opener=opens(FakeCapture(0))) as live,
        pytest.raises(SourceError, match="gave no frame"),
    ):
        next(live.frames())


@pytest.mark.parametrize("frames", [0, 3])
def test_a_capture_that_raises_is_never_complete(frames):
    class Broken(FakeCapture):
        def read(self):
            pixels = super().read()
            if pixels is None:
                raise cv2.error("rtsp://u:SECRET@host")
            return pixels

    with LiveSource("test:broken", opener=opens(Broken(frames))) as live:
        if frames:
            assert list(live.frames())
        else:
            with pytest.raises(SourceError, match=r"failed \(error\)") as caught:
                next(live.frames())
            assert "SECRET" not in str(caught.value)
    assert not frames or live.incomplete_reason == "reading from it failed (error)"


def test_an_opener_that_fails_for_good_is_not_asked_again():
    def opener():
        raise SourceError("too large")

    with LiveSource("test:refused", opener=opener) as live, pytest.raises(SourceError, match="test:refused: too large"):
        next(live.frames())


def test_close_from_another_thread_wakes_frames():
    with LiveSource("test:close", opener=opens(FakeCapture(1, hangs_at=None), FakeCapture(None, 5.0))) as live:
        frames = live.frames()
        next(frames)
        timer = threading.Timer(0.1, live.stop)
        timer.start()
        started = time.monotonic()
        assert list(frames) == []
        timer.join()
        assert time.monotonic() - started < 2.5


def test_close_during_a_pause_between_attempts_is_prompt():
    patience = Patience(outage_s=60.0)
    with LiveSource("test:pause", patience=patience, opener=opens(FakeCapture(1))) as live:
        frames = live.frames()
        next(frames)
        time.sleep(1.0)
        started = time.monotonic()
        live.close()
        assert time.monotonic() - started < 0.2
        assert list(frames) == []


def test_a_read_that_hangs_delays_close_by_two_seconds_at_most(caplog):
    capture = FakeCapture(None, hangs_at=1)
    live = LiveSource("test:hang", opener=opens(capture))
    next(live.frames())
    started = time.monotonic()
    live.close()
    assert time.monotonic() - started < 2.5
    assert "does not return" in caplog.text
    capture.released.set()
    deadline = time.monotonic() + 1.0
    while not capture.closed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert capture.closed


def test_a_read_that_hangs_ends_the_frames(monkeypatch):
    monkeypatch.setattr("deepfake_edge.sources.live._GRACE_S", 0.1)
    capture = FakeCapture(None, hangs_at=1)
    with LiveSource("test:hangs", patience=Patience(0.1, 0.1, 0.1), opener=opens(capture)) as live:
        frames = live.frames()
        next(frames)
        threading.Timer(1.0, capture.released.set).start()
        assert list(frames) == []
    assert "hangs" in (live.incomplete_reason or "")


def test_a_source_that_is_dropped_is_freed():
    capture = FakeCapture(None, 0.01)
    live = LiveSource("test:dropped", opener=opens(capture))
    next(live.frames())
    del live
    gc.collect()
    assert capture.closed


def test_a_hanging_read_does_not_keep_the_process():
    script = (
        "import time, numpy as np\n"
        "from deepfake_edge.sources.live import LiveSource\n"
        "class Hangs:\n"
        "    recorded_s = None; count = 0\n"
        "    def read(self):\n"
        "        if self.count: time.sleep(60)\n"
        "        self.count += 1\n"
        "        return np.zeros((4, 4, 3), np.uint8)\n"
        "    def missing(self, frames): return None\n"
        "    def close(self): pass\n"
        "live = LiveSource('x', opener=Hangs)\n"
        "frames = live.frames()\n"
        "next(frames)\n"
        "print('leaving')\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "leaving\n"
    assert time.monotonic() - started < 10.0


def test_frames_are_given_once():
    with LiveSource("test:once", opener=opens(FakeCapture(1))) as live:
        next(live.frames())
        with pytest.raises(InvalidInput, match="once"):
            next(live.frames())


def test_closed_before_it_was_read():
    live = LiveSource("test:early", opener=opens(FakeCapture(None)))
    live.close()
    live.close()
    assert list(live.frames()) == []


def test_a_file_plays_in_real_time_to_its_end(tmp_path):
    with LiveSource(str(clip(tmp_path / "a.mp4"))) as live:
        started = time.monotonic()
        frames = list(live.frames())
        took_s = time.monotonic() - started
    assert [frame.time_s for frame in frames] == pytest.approx([index / 20.0 for index in range(10)], abs=1e-3)
    assert 0.4 < took_s < 1.5
    assert live.complete
    assert live.dropped == 0
    assert not live.is_still
    assert live.frame_count is None


def test_a_file_that_is_computed_slowly_keeps_its_pace(tmp_path):
    with LiveSource(str(clip(tmp_path / "a.mp4", frames=20))) as live:
        started, taken = time.monotonic(), 0
        for _ in live.frames():
            taken += 1
            time.sleep(0.2)
    assert time.monotonic() - started < 2.5
    assert taken + live.dropped == 20
    assert live.complete


def test_a_file_that_was_stopped_is_incomplete(tmp_path):
    with LiveSource(str(clip(tmp_path / "a.mp4", frames=40))) as live:
        next(live.frames())
    assert live.incomplete_reason == "stopped at 0.0 s"


def test_a_file_that_is_cut_short_is_incomplete(data_dir):
    cut = data_dir / "edge" / "truncated_intel_female.mp4"
    if not cut.exists():
        pytest.skip(f"no {cut.name} in the test data")
    with LiveSource(str(cut)) as live:
        assert list(live.frames())
    assert "cut short" in (live.incomplete_reason or "")


def test_a_file_that_is_damaged_in_the_middle_is_incomplete_as_in_detect(tmp_path):
    path = clip(tmp_path / "a.mp4", frames=20)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat")
    size = int.from_bytes(data[start - 4 : start], "big")
    data[start + size // 2 : start + size * 3 // 4] = bytes(size * 3 // 4 - size // 2)
    path.write_bytes(data)
    with VideoFile(path) as video:
        assert list(video.frames())
    assert "frames could be decoded" in (video.incomplete_reason or "")
    with LiveSource(str(path)) as live:
        assert list(live.frames())
    assert live.incomplete_reason == video.incomplete_reason


@pytest.mark.parametrize(
    "source", ["file:///etc/passwd", "concat:a|b", "no such file", "", "gopher://u:SECRET@host/", "u:SECRET@host"]
)
def test_what_is_no_source_is_refused(source):
    with pytest.raises(SourceError) as caught:
        LiveSource(source)
    assert "SECRET" not in str(caught.value)


def test_a_playlist_is_refused(tmp_path):
    (tmp_path / "clip.mp4").write_text("#EXTM3U\nhttp://example.com/x.ts\n")
    with pytest.raises(SourceError, match="playlist"):
        LiveSource(str(tmp_path / "clip.mp4"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    def unreadable(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("deepfake_edge.sources.live.refusal", unreadable)
    with pytest.raises(SourceError, match=r"cannot be read \(Permission denied\)"):
        LiveSource(str(clip(tmp_path / "a.mp4")))


def test_frames_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("deepfake_edge.sources.live.MAX_PIXELS", 1000)
    with LiveSource(str(clip(tmp_path / "a.mp4"))) as live, pytest.raises(SourceError, match="3072 pixels"):
        next(live.frames())


def test_a_refused_connection_fails_within_seconds_and_keeps_its_secret(caplog, capfd):
    started = time.monotonic()
    with LiveSource("rtsp://admin:SECRET@127.0.0.1:9/x?token=SECRET") as live:
        with pytest.raises(SourceError, match=r"rtsp://\*\*\*@127.0.0.1:9/x") as caught:
            next(live.frames())
        shown = repr(live) + "".join(thread.name for thread in threading.enumerate())
    assert time.monotonic() - started < 5.0
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    captured = capfd.readouterr()
    assert "SECRET" not in str(caught.value) + shown + caplog.text + captured.out + captured.err


def test_no_camera():
    with LiveSource(63) as live, pytest.raises(SourceError, match="camera 63: cannot be opened"):
        next(live.frames())


@pytest.mark.skipif(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER), reason="this OpenCV has GStreamer")
def test_a_pipeline_needs_gstreamer():
    with pytest.raises(MissingDependency, match="JetPack"):
        LiveSource("videotestsrc ! appsink")


@pytest.mark.parametrize("bad", [{"open_s": 0}, {"read_s": float("nan")}, {"outage_s": -1}])
def test_patience_is_checked(bad):
    with pytest.raises(InvalidInput, match=next(iter(bad))):
        Patience(**bad)


def test_a_mailbox_may_be_closed_while_its_lock_is_held():
    box = Mailbox()
    with box._changed:
        box.close()
    assert box.take(1.0) is None
    assert box.closed_within(1.0)


def test_a_name_that_is_not_utf8_is_refused_rather_than_crashed_on(tmp_path):
    path = clip(tmp_path / "a.mp4").rename(tmp_path / os.fsdecode(b"a\xff.mp4"))
    for source in (str(path), os.fsdecode(b"rtsp://user:SECRET\xff@127.0.0.1:9/")):
        with pytest.raises(SourceError, match="not UTF-8") as caught:
            LiveSource(source)
        assert "SECRET" not in str(caught.value)
