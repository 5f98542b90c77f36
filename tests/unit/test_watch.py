"""`deepfake-edge watch` as people run it: a process, its two outputs, signals and exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")

from deepfake_edge.bundle import write_bundle
from fakes import bright_means_fake


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("watch") / "bright.dfe"
    write_bundle(bright_means_fake(), path)
    return path


def bright_clip(path: Path, seconds: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20.0, (64, 48))
    for _ in range(20 * seconds):
        writer.write(np.full((48, 64, 3), 220, np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return bright_clip(tmp_path_factory.mktemp("watch") / "clip.avi", seconds=10)


def start(source, bundle, *options) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, "-c", "import sys; from deepfake_edge.cli import main; sys.exit(main())"]
    given = ["watch", str(source), "--model", str(bundle), "--faces", "whole", *map(str, options)]
    pipe = subprocess.PIPE
    return subprocess.Popen([*command, *given], stdout=pipe, stderr=pipe, text=True, env=environment)


def watch(source, bundle, *options) -> tuple[int, str, str]:
    with start(source, bundle, *options) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def test_lines_and_verdict(clip, bundle):
    code, out, err = watch(clip, bundle, "--seconds", 3)
    lines = out.splitlines()
    assert code == 0, err
    assert "#1 FAKE" in lines[-2]
    assert "delay" in lines[-2]
    assert lines[-1].startswith("fake 0.9")
    assert "stopped at" in lines[-1]
    assert 3 <= len(lines) <= 8
    assert "\x1b" not in out


def test_json_and_annotated_video(clip, bundle, tmp_path):
    annotated = tmp_path / "seen.avi"
    code, out, err = watch(clip, bundle, "--seconds", 2, "--json", "-", "--annotate", annotated)
    assert code == 0, err
    *scores, verdict = map(json.loads, out.splitlines())
    assert set(scores[0]) == {"track", "start_s", "end_s", "fake_score"}
    assert len(scores) > 10
    assert verdict["label"] == "fake"
    assert verdict["complete"] is False
    capture = cv2.VideoCapture(str(annotated))
    seconds = capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    assert seconds == pytest.approx(scores[-1]["end_s"], abs=0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_the_verdict(clip, bundle, number):
    with start(clip, bundle) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.7)
        asked = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert time.monotonic() - asked < 3.0
    assert out.splitlines()[-1].startswith("fake 0.9")
    assert "Traceback" not in err


def test_a_whole_file_is_complete(bundle, tmp_path):
    records = tmp_path / "records.jsonl"
    code, out, err = watch(bright_clip(tmp_path / "short.avi", seconds=1), bundle, "--json", records)
    assert code == 0, err
    verdict = json.loads(records.read_text().splitlines()[-1])
    assert verdict["complete"] is True
    assert out.splitlines()[-1].startswith("fake")


@pytest.mark.parametrize(
    ("source", "options", "code", "said"),
    [
        ("rtsp://u:SECRET@127.0.0.1:9/x", (), 1, "SourceError: rtsp://***@127.0.0.1:9/x: cannot be opened"),
        ("file:///etc/passwd", (), 1, "SourceError"),
        ("0", ("--annotate", "out.txt"), 1, "InvalidInput"),
        ("0", ("--seconds", "-1"), 2, "seconds"),
        ("0", ("--seconds", "x"), 2, "seconds"),
    ],
)
def test_what_cannot_be_done(bundle, source, options, code, said):
    found, out, err = watch(source, bundle, *options)
    assert found == code
    assert out == ""
    assert said in err
    assert "SECRET" not in err
    assert "Traceback" not in err
