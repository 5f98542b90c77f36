"""How many threads a detector starts: what was asked for, whatever the machine has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from deepfake_edge.bundle import write_bundle
from deepfake_edge.runtime_choice import precisions_of
from fakes import bright_means_fake

TASKS = Path("/proc/self/task")
pytestmark = pytest.mark.skipif(not TASKS.is_dir(), reason="threads are counted in Linux's /proc")

# Threads of a process that has judged a folder of pictures, with Haar cascades, which OpenCV runs in parallel.
_DETECT = f"""
import os, sys
import cv2
from deepfake_edge import Detector
before = len(os.listdir("{TASKS}"))
with Detector(sys.argv[1], faces="haar", runtime=sys.argv[3], threads=int(sys.argv[4])) as detector:
    detector.detect(sys.argv[2])
    print(cv2.getNumThreads(), len(os.listdir("{TASKS}")) - before)
"""


def started(place: Path, runtime: str, threads: int) -> tuple[int, int]:
    """OpenCV's number of threads, and how many were started."""
    arguments = [place / "model.dfe", place / "pictures", runtime, str(threads)]
    done = subprocess.run([sys.executable, "-c", _DETECT, *arguments], capture_output=True, text=True, check=True)
    opencv, tasks = map(int, done.stdout.split())
    return opencv, tasks


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model of two networks, and three pictures of noise."""
    folder = tmp_path_factory.mktemp("threads")
    write_bundle(bright_means_fake(frames=2, sample_fps=10.0), folder / "model.dfe")
    (folder / "pictures").mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 255, (480, 640, 3), np.uint8)
        cv2.imwrite(str(folder / "pictures" / f"{index}.png"), noise)
    return folder


def test_onnx_runtime_and_opencv_start_no_thread_for_one_and_one_less_each_for_more(place):
    assert started(place, "onnxruntime", 1) == (1, 0)
    # Two networks and OpenCV's pool, whose callers work as well.
    assert started(place, "onnxruntime", 3) == (3, 6)


@pytest.mark.skipif(not precisions_of("openvino"), reason="OpenVINO is not installed")
def test_openvino_starts_a_few_that_wait_and_one_more_for_one_more(place):
    (_, one), (_, three) = started(place, "openvino", 1), started(place, "openvino", 3)
    assert one <= 8
    assert three - one <= 4
