"""The core's own tests, and the CUDA kernel in them, under the sanitizers: no byte is read beside an image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "deepfake_edge" / "native" / "core"
CUDA = ROOT / "deepfake_edge" / "native" / "cuda"
DOUBLE = ROOT / "tests" / "doubles" / "kernel"
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_under_the_address_and_undefined_behaviour_sanitizers(tmp_path):
    """The generic kernels; CMake's DEEPFAKE_EDGE_SANITIZE does it with all that the CPU runs."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++")
    trial = tmp_path / "trial.cpp"
    trial.write_text("int main() {}\n")
    if run([compiler, *SANITIZE, str(trial), "-o", str(tmp_path / "trial")]).returncode:
        pytest.skip("this g++ has no sanitizers")
    core = [path for path in CORE.glob("*.cpp") if path.stem not in ("kernels_avx2", "kernels_avx512", "kernels_neon")]
    sources = [ROOT / "tests" / "native" / "core_test.cpp", DOUBLE / "kernel.cpp", CUDA / "plan_crops.cpp", *core]
    flags = ("-std=c++17", "-O1", "-g1", "-ffp-contract=off", "-pthread", *SANITIZE)
    folders = [f"-I{folder}" for folder in (CORE, CUDA, DOUBLE)]
    built = run([compiler, *flags, *folders, *map(str, sources), "-o", str(tmp_path / "core_test")])
    assert built.returncode == 0, built.stderr
    done = run([str(tmp_path / "core_test")])
    assert done.returncode == 0, done.stdout + done.stderr
