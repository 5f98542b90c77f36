"""`tests/gpu` runs on a GPU alone; here it is shown that it is whole, over the doubles, and skips without either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> str:
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DEEPFAKE_EDGE_"))}
    # Not `python -m pytest`, which looks into the checkout first, where the native module is not.
    pytest_itself = str(Path(sys.executable).with_name("pytest"))
    options = ["-m", "gpu", "-n", "0", "-v", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        [pytest_itself, "tests/gpu", *options], cwd=ROOT, env={**ours, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_without_a_gpu_every_test_is_skipped_with_the_reason():
    told = run(CUDA_VISIBLE_DEVICES="")
    assert " passed" not in told
    assert "no GPU: NVIDIA's driver" in told
    assert "figures of" not in told


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.6", "10.7", "10.16", "11.4"])
def test_over_the_doubles_every_test_of_the_small_bundle_passes(version):
    # The kernel's timing copies gigabytes; its double has tests of its own.
    told = run("--ignore", "tests/gpu/test_kernel.py", DEEPFAKE_EDGE_GPU_TESTS_OVER_DOUBLES=version)
    assert " failed" not in told
    assert "figures of doubles, of no GPU" in told
    for name in ("test_cuda", "test_detector", "test_engines", "test_onnxruntime"):
        assert f"tests/gpu/{name}.py" in told
    assert "| small | tensorrt | int8 | a batch of 8" in told
