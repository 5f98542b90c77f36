"""What doctor says of GPUs and Jetsons: from files and doubles, since neither is here; it never raises or hangs."""

from __future__ import annotations

import sys
import time

import pytest

from deepfake_edge.cli import doctor_gpu, gpu_advice
from deepfake_edge.cli.doctor_gpu import ask, gpu_rows
from deepfake_edge.cli.jetpack import RELEASES, find_jetson

# First lines of the files, as boards have them.
BOARDS = [
    # L4T, nvidia-jetpack, board, JetPack, what it brings
    ("R35 (release), REVISION: 4.1", "5.1.2-b104", "NVIDIA Jetson Xavier NX Developer Kit", 5, "8.5.2", "3.8"),
    ("R35 (release), REVISION: 6.4", "5.1.6-b35", "Jetson AGX Orin", 5, "8.5.2", "3.8"),
    ("R36 (release), REVISION: 3.0", "6.0+b106", "NVIDIA Jetson Orin Nano Developer Kit", 6, "8.6.2", "3.10"),
    ("R36 (release), REVISION: 4.3", "6.2+b77", "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", 6,
     "10.3.0", "3.10"),
    ("R36 (release), REVISION: 5.0", "6.2.2+b24", "NVIDIA Jetson AGX Orin Developer Kit", 6, "10.3.0", "3.10"),
    ("R38 (release), REVISION: 2.0", "7.0-b128", "NVIDIA Jetson AGX Thor Developer Kit", 7, "10.13.3", "3.12"),
    ("R38 (release), REVISION: 4.0", "7.1-b1", "NVIDIA Jetson AGX Thor Developer Kit", 7, "10.13.3", "3.12"),
    ("R39 (release), REVISION: 2.0", "7.2-b1", "NVIDIA Jetson AGX Orin Developer Kit", 7, "10.16.2", "3.12"),
]  # fmt: skip
STATUS = """Package: bash
Status: install ok installed
Version: 5.1-6

Package: nvidia-jetpack
Status: {status}
Architecture: arm64
Version: {version}
Description: NVIDIA Jetpack Meta Package
 Package: a line of the description
"""


@pytest.fixture
def root(tmp_path):
    """Makes the files of a board."""

    def make(release: str, version: str | None = None, board: str = "", status: str = "install ok installed"):
        for name in ("etc", "proc/device-tree", "var/lib/dpkg"):
            (tmp_path / name).mkdir(parents=True)
        line = f"# {release}, GCID: 38968081, BOARD: generic, EABI: aarch64, DATE: Wed Jan  8 01:49:37 UTC 2025\n"
        (tmp_path / "etc/nv_tegra_release").write_text(line)
        if board:
            (tmp_path / "proc/device-tree/model").write_bytes(board.encode() + b"\0")
        if version:
            (tmp_path / "var/lib/dpkg/status").write_text(STATUS.format(status=status, version=version))
        return tmp_path

    return make


def row(rows, name):
    found = [item for item in rows if item[0] == name]
    assert len(found) == 1, f"{name} in {rows}"
    return found[0]


class TestJetson:
    @pytest.mark.parametrize(("release", "version", "board", "major", "tensorrt", "python"), BOARDS)
    def test_each_jetpack_is_known_by_its_files(self, root, release, version, board, major, tensorrt, python):
        jetson = find_jetson(root(release, version, board))
        assert (jetson.board, jetson.installed) == (board, version)
        assert (jetson.jetpack.major, jetson.jetpack.tensorrt, jetson.jetpack.python) == (major, tensorrt, python)

    def test_no_jetson(self, tmp_path):
        assert find_jetson(tmp_path) is None

    @pytest.mark.parametrize("release", ["R32 (release), REVISION: 7.4", "R35 (release), REVISION: 1.0"])
    def test_one_that_is_too_old(self, root, release):
        place = root(release, board="NVIDIA Jetson Nano Developer Kit")
        assert find_jetson(place).jetpack is None
        assert "wanted JetPack 5.1 or newer" in row(ask(place), "board")[2]

    def test_a_package_that_was_removed_is_not_installed(self, root):
        jetson = find_jetson(root("R36 (release), REVISION: 4.3", "6.2", status="deinstall ok config-files"))
        assert jetson.installed is None

    def test_a_release_file_that_is_a_folder(self, tmp_path):
        (tmp_path / "etc/nv_tegra_release").mkdir(parents=True)
        assert find_jetson(tmp_path) is None

    def test_the_table_is_in_order_and_speaks_of_what_engines_are_built_for(self):
        assert list(RELEASES) == sorted(RELEASES, key=lambda item: item.l4t)
        for release in RELEASES:
            version = tuple(int(part) for part in release.tensorrt.split("."))
            assert gpu_advice.tensorrt_range(version)


class TestAdvice:
    """The command is the one for this machine."""

    @pytest.mark.parametrize(
        ("release", "python", "wanted"),
        [
            (
                "R35 (release), REVISION: 4.1",
                "3.10.12",
                "TensorRT module is for Python 3.8, and deepfake-edge needs 3.10",
            ),
            ("R36 (release), REVISION: 4.3", "3.10.12", "sudo apt install nvidia-jetpack python3-libnvinfer"),
            ("R36 (release), REVISION: 4.3", "3.11.9", "is for Python 3.10, this is 3.11"),
            ("R38 (release), REVISION: 2.0", "3.12.3", "venv --system-site-packages"),
            ("R32 (release), REVISION: 7.1", "3.6.9", "wanted JetPack 5.1 or newer"),
        ],
    )
    def test_tensorrt_on_a_jetson(self, root, monkeypatch, release, python, wanted):
        monkeypatch.setattr("platform.python_version_tuple", lambda: tuple(python.split(".")))
        assert wanted in gpu_advice.tensorrt_advice(find_jetson(root(release)), "12.6")

    @pytest.mark.parametrize(
        ("driver", "wanted"),
        [
            ("13.2", "pip install tensorrt-cu13"),
            ("14.0", "pip install tensorrt-cu13"),
            ("12.4", "pip install tensorrt-cu12"),
            ("11.8", "wanted 12 or newer"),
            (None, "First a driver"),
        ],
    )
    def test_tensorrt_on_a_desktop(self, driver, wanted):
        assert wanted in gpu_advice.tensorrt_advice(None, driver)

    def test_a_binding_of_the_drivers_own_major_version(self, root):
        jetson = find_jetson(root("R36 (release), REVISION: 4.3"))
        assert "'cuda-python==12.*'" in gpu_advice.binding_advice(jetson, "12.6")
        assert "pip install pycuda" in gpu_advice.binding_advice(jetson, "12.6")

    def test_without_a_compiler_the_wheel_comes_first(self, monkeypatch, tmp_path):
        monkeypatch.setattr("shutil.which", lambda _: None)
        monkeypatch.setattr(gpu_advice, "_NVCC", tmp_path / "nvcc")
        assert gpu_advice.binding_advice(None, None).startswith("Try: pip install cuda-python; pycuda has to be")


class TestTheProcessThatAsks:
    def test_here_it_says_what_is_missing(self):
        names = [name for name, _, _ in gpu_rows()]
        assert names[0].startswith(("GPU", "board"))
        for name in ("CUDA binding", "tensorrt", "engines", "onnxruntime-cuda"):
            assert name in names

    def test_a_driver_that_hangs(self):
        start = time.monotonic()
        assert gpu_rows(0.3, "import time; time.sleep(60)") == [
            ("GPU", "?", "the driver gave no answer within 0.3 s. Try: sudo reboot")
        ]
        assert time.monotonic() - start < 20

    def test_a_driver_that_crashes(self):
        ((_, state, note),) = gpu_rows(question="import os; os.abort()")
        assert state == "?"
        assert "crashed (SIGABRT)" in note

    def test_a_library_that_exits(self):
        ((_, _, note),) = gpu_rows(question="sys.exit('no CUDA-capable device')")
        assert "failed: no CUDA-capable device" in note

    def test_what_libraries_print_is_not_taken_for_the_answer(self):
        question = "doctor_gpu.ask = lambda: print('hello') or [('GPU', 'yes', 'x')]; doctor_gpu.answer()"
        assert gpu_rows(question=question) == [("GPU", "yes", "x")]

    def test_the_current_folder_is_no_place_for_its_libraries(self, monkeypatch, tmp_path):
        (tmp_path / "libcuda.so.1").write_bytes(b"no library")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("LD_LIBRARY_PATH", ":/nowhere:")
        question = "import os; print(json.dumps([['x', 'y', os.environ['LD_LIBRARY_PATH']]]))"
        assert gpu_rows(question=question) == [("x", "y", "/nowhere")]
        assert not any("invalid ELF header" in note or "too short" in note for _, _, note in gpu_rows())

    def test_no_python_to_ask(self, monkeypatch):
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        ((_, state, note),) = gpu_rows()
        assert state == "?"
        assert "no process can be started" in note


def test_whatever_breaks_is_said_in_its_row(monkeypatch):
    def broken():
        raise ZeroDivisionError("of all\nthings")

    monkeypatch.setattr(doctor_gpu, "_engines", broken)
    assert row(ask(), "engines") == ("engines", "no", "of all things")


class TestOverTheDoubles:
    """With a CUDA driver double, and a TensorRT double."""

    def test_a_gpu_with_its_driver(self, cuda_double):
        cuda_double.facts(
            name="Orin", compute_capability=(8, 7), integrated=True, memory_bytes=8 << 30, driver_version="12.6"
        )
        rows = ask()
        note = "compute capability 8.7, 8.0 GiB, shared with the CPU, driver for CUDA 12.6"
        assert row(rows, "GPU 0") == ("GPU 0", "Orin", note)
        assert "pip install tensorrt-cu12" in row(rows, "tensorrt")[2]

    def test_every_gpu_has_its_rows(self, cuda_double):
        cuda_double.facts(devices=3)
        names = [name for name, _, _ in ask()]
        assert names[:6] == [f"{what}GPU {n}" for n in range(3) for what in ("", "crops on ")]

    def test_a_driver_that_refuses(self, cuda_double):
        cuda_double.fail("cuInit", 803)
        assert "cuInit failed" in row(ask(), "GPU")[2]

    def test_a_gpu_that_is_lost_meanwhile(self, cuda_double):
        cuda_double.fail("cuModuleLoadData", 700)
        assert row(ask(), "crops on GPU 0")[1] == "no"

    def test_tensorrt_and_how_its_engines_are_built(self, tensorrt_double):
        found = row(ask(), "tensorrt")
        assert found[1] == tensorrt_double.module.__version__
        assert found[2].startswith(tensorrt_double.version.partition(".")[0])
