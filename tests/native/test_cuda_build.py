"""The CUDA kernel is compiled for every device that the compiler knows, and its absence is said or is no matter."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

CUDA = Path(__file__).resolve().parents[2] / "deepfake_edge" / "native" / "cuda"
WANTED = (72, 75, 80, 86, 87, 89, 90, 100, 110, 120)
KERNELS = ("crop_packed_float32", "crop_packed_float16", "crop_nv12_float32", "crop_nv12_float16")
PTX, ELF = 1, 2

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")


def find_nvcc() -> str | None:
    return shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")


def configure(folder: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """The kernel's own part of the build, in `folder`/build."""
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18...3.31)\n"
        "project(kernel LANGUAGES NONE)\n"
        f'add_subdirectory("{CUDA}" kernel)\n'
    )
    values = {"CMAKE_CXX_COMPILER": shutil.which("g++") or "g++", **options}
    command = ["cmake", "-S", str(folder), "-B", str(folder / "build"), *(f"-D{k}={v}" for k, v in values.items())]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def compiled(folder: Path) -> Path:
    done = subprocess.run(["cmake", "--build", str(folder / "build")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in (done.stdout + done.stderr).lower(), done.stdout + done.stderr
    return folder / "build" / "kernel" / "crops.fatbin"


def contents(fatbin: bytes) -> list[tuple[int, int]]:
    """What a fatbin holds, as (kind, architecture): its header is 16 bytes, each entry's names its own sizes."""
    magic, _, header_bytes, size_bytes = struct.unpack_from("<IHHQ", fatbin)
    assert magic == 0xBA55ED50
    found, at = [], header_bytes
    while at < header_bytes + size_bytes:
        kind, _, entry_bytes, payload_bytes = struct.unpack_from("<HHIQ", fatbin, at)
        found.append((kind, *struct.unpack_from("<I", fatbin, at + 28)))
        at += entry_bytes + payload_bytes
    return found


def nvcc_double(folder: Path, known: str) -> Path:
    """A double of an older or newer compiler: it lists `known`, and writes down what it is asked to compile."""
    path = folder / "nvcc"
    path.write_text(
        '#!/bin/sh\nif [ "$1" = --list-gpu-code ]; then\n'
        f'  printf "%s\\n" {known}\n  exit\nfi\n'
        'for word in "$@"; do last=$before; before=$word; [ "$last" = -o ] && echo "$@" > "$word"; done; exit 0\n'
    )
    path.chmod(0o755)
    return path


@pytest.mark.skipif(find_nvcc() is None, reason="no nvcc, so no kernel is built here either")
def test_every_device_that_nvcc_knows_is_in_the_file(tmp_path):
    known = subprocess.run([find_nvcc(), "--list-gpu-code"], capture_output=True, text=True, check=True).stdout.split()
    targets = [target for target in WANTED if f"sm_{target}" in known]
    done = configure(tmp_path, DEEPFAKE_EDGE_CUDA="ON", DEEPFAKE_EDGE_NVCC=find_nvcc())
    assert done.returncode == 0, done.stderr
    found = contents(compiled(tmp_path).read_bytes())
    assert sorted(arch for kind, arch in found if kind == ELF) == targets
    assert sorted(arch for kind, arch in found if kind == PTX) == [targets[0], targets[-1]]


@pytest.mark.skipif(find_nvcc() is None, reason="no nvcc")
def test_the_code_has_the_kernels_and_fuses_nothing(tmp_path):
    """A fused multiplication and addition rounds once where the CPU rounds twice."""
    ptx = tmp_path / "crops.ptx"
    command = [find_nvcc(), "-ptx", "-std=c++17", "-O3", "-fmad=false", "-Werror=all-warnings", "-o", str(ptx)]
    done = subprocess.run([*command, str(CUDA / "crops.cu")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = ptx.read_text()
    assert all(f".entry {kernel}(" in text for kernel in KERNELS)
    assert "mul.rn.f32" in text
    assert not any(fusible in text for fusible in ("fma.", "mul.f32", "add.f32", "sub.f32"))


@pytest.mark.parametrize(
    ("known", "targets", "ptx"),
    [
        # CUDA 11.4 (JetPack 5), 12.6 (JetPack 6), 12.8, 13.0 (JetPack 7), and one that names only what is to come.
        (
            "sm_35 sm_37 sm_50 sm_52 sm_53 sm_60 sm_61 sm_62 sm_70 sm_72 sm_75 sm_80 sm_86 sm_87",
            (72, 75, 80, 86, 87),
            87,
        ),
        ("sm_50 sm_72 sm_75 sm_80 sm_86 sm_87 sm_89 sm_90 sm_90a", (72, 75, 80, 86, 87, 89, 90), 90),
        ("sm_72 sm_75 sm_80 sm_86 sm_87 sm_89 sm_90 sm_100 sm_101 sm_120", (72, 75, 80, 86, 87, 89, 90, 100, 120), 120),
        ("sm_75 sm_80 sm_86 sm_87 sm_88 sm_89 sm_90 sm_100 sm_110 sm_103 sm_120 sm_121", WANTED[1:], 120),
        ("sm_120", (120,), 120),
    ],
)
def test_each_compiler_is_asked_for_what_it_knows(tmp_path, known, targets, ptx):
    done = configure(tmp_path, DEEPFAKE_EDGE_NVCC=nvcc_double(tmp_path, known))
    assert done.returncode == 0, done.stderr
    asked = compiled(tmp_path).read_text().split()
    code = [word.rpartition("=")[2] for word in asked if word.startswith("-gencode=")]
    assert [name for name in code if name.startswith("sm_")] == [f"sm_{target}" for target in targets]
    assert {name for name in code if name.startswith("compute_")} == {f"compute_{targets[0]}", f"compute_{ptx}"}
    assert "-fmad=false" in asked


def test_without_a_compiler_there_is_no_kernel_and_no_error(tmp_path):
    done = configure(tmp_path, DEEPFAKE_EDGE_CUDA="AUTO", DEEPFAKE_EDGE_NVCC="/bin/false")
    assert done.returncode == 0, done.stderr
    assert "No CUDA kernel: /bin/false --list-gpu-code failed" in done.stdout
    assert not compiled(tmp_path).exists()


def test_on_without_a_compiler_is_an_error_that_says_so(tmp_path):
    done = configure(tmp_path, DEEPFAKE_EDGE_CUDA="ON", DEEPFAKE_EDGE_NVCC="/bin/false")
    assert done.returncode != 0
    assert "DEEPFAKE_EDGE_CUDA is ON, but" in done.stderr


def test_off_builds_none(tmp_path):
    done = configure(tmp_path, DEEPFAKE_EDGE_CUDA="OFF", DEEPFAKE_EDGE_NVCC=nvcc_double(tmp_path, "sm_87"))
    assert done.returncode == 0, done.stderr
    assert not compiled(tmp_path).exists()
