"""A real RTSP stream: frames come, an outage is survived, and a wrong password stays unsaid."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfake_edge.errors import SourceError
from deepfake_edge.feed import Patience
from deepfake_edge.sources.live import LiveSource

SERVER = Path(__file__).resolve().parents[1] / "rtsp_server.py"
NEEDS = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')"
)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has GStreamer's bindings: the system's, as they are not on PyPI."""
    for candidate in ("/usr/bin/python3", shutil.which("python3") or ""):
        if candidate and subprocess.run([candidate, "-c", NEEDS], capture_output=True, check=False).returncode == 0:
            return candidate
    pytest.skip("no GStreamer RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def served(python: str, port: int, *options: str) -> Iterator[None]:
    with subprocess.Popen(
        [python, str(SERVER), "--port", str(port), *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


def test_frames_arrive_at_their_rate(python, port):
    with served(python, port), LiveSource(f"rtsp://127.0.0.1:{port}/live") as live:
        times = []
        for frame in live.frames():
            times.append(frame.time_s)
            assert frame.pixels.shape == (360, 640, 3)
            if len(times) == 75:
                break
    assert times == sorted(times)
    # The first second may come at once: what the server kept while the stream was being probed.
    assert (times[-1] - times[25]) / 49 == pytest.approx(1 / 25, rel=0.15)
    assert live.complete


def test_a_server_that_restarts(python, port):
    patience = Patience(open_s=4.0, read_s=2.0, outage_s=30.0)
    with LiveSource(f"rtsp://127.0.0.1:{port}/live", patience=patience) as live:
        frames = live.frames()
        with served(python, port):
            before = next(frames)
        time.sleep(3.0)
        with served(python, port):
            deadline = time.monotonic() + 30.0
            while live.reconnects == 0 and time.monotonic() < deadline:
                after = next(frames)
        assert live.reconnects == 1
        assert after.time_s > before.time_s + 3.0
        assert after.index > before.index
    assert not live.complete


def test_a_server_that_stays_away_ends_the_stream(python, port):
    patience = Patience(open_s=2.0, read_s=1.0, outage_s=3.0)
    with LiveSource(f"rtsp://127.0.0.1:{port}/live", patience=patience) as live:
        frames = live.frames()
        with served(python, port):
            next(frames)
        started = time.monotonic()
        for _ in frames:
            pass
        assert time.monotonic() - started < 12.0
    assert "did not come back within 3 s" in (live.incomplete_reason or "")


def test_a_password_opens_it_and_a_wrong_one_stays_unsaid(python, port, capfd, caplog):
    with served(python, port, "--user", "viewer", "--password", "RIGHT"):
        with LiveSource(f"rtsp://viewer:RIGHT@127.0.0.1:{port}/live") as live:
            assert next(live.frames()).pixels.shape == (360, 640, 3)
        with (
            LiveSource(f"rtsp://viewer:SECRET@127.0.0.1:{port}/live") as live,
            pytest.raises(SourceError, match="password right") as caught,
        ):
            next(live.frames())
    captured = capfd.readouterr()
    assert "SECRET" not in str(caught.value) + repr(caught.value.__context__) + caplog.text
    assert "SECRET" not in captured.out + captured.err


def test_closing_during_a_stream_is_prompt(python, port):
    with served(python, port), LiveSource(f"rtsp://127.0.0.1:{port}/live") as live:
        next(live.frames())
        started = time.monotonic()
        live.close()
        assert time.monotonic() - started < 2.5
