"""A GPU opens, or it is said what is missing; and Python ends cleanly with one left open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_edge.cuda.device import DeviceFacts, open_device
from deepfake_edge.errors import InvalidInput, MissingDependency

TESTS = Path(__file__).resolve().parents[2]


def test_a_device_says_what_it_is(binding, cuda_double):
    cuda_double.facts(
        name="Orin", compute_capability=(8, 7), integrated=True, memory_bytes=7 << 30, driver_version="12.6"
    )
    with open_device(0, binding) as device:
        assert device.facts == DeviceFacts(0, "Orin", (8, 7), 8, 7 << 30, True, "12.6")
        assert device.binding == binding


def test_only_devices_and_bindings_that_exist_are_opened(cuda_double):
    for ordinal in (-1, 1, 7):
        with pytest.raises(InvalidInput, match=rf"no GPU {ordinal}; this machine has 0 \(CUDA driver double"):
            open_device(ordinal)
    with pytest.raises(InvalidInput, match="'numba'; there are pycuda, cuda-python"):
        open_device(0, "numba")


def test_without_a_gpu_it_says_so(cuda_double):
    cuda_double.facts(devices=0)
    with pytest.raises(MissingDependency, match="finds no GPU"):
        open_device()


def test_a_driver_that_does_not_start_says_so(cuda_double):
    cuda_double.fail("cuInit", 999)
    with pytest.raises(MissingDependency, match=r"cuInit failed with CUDA_ERROR_UNKNOWN \(999\)"):
        open_device()


def test_the_first_binding_that_is_installed_is_taken(binding, cuda_double, monkeypatch):
    if binding == "cuda-python":
        monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with open_device() as device:
        assert device.binding == binding


def test_without_a_binding_it_says_how_to_get_one(cuda_double, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setitem(sys.modules, "cuda.bindings.driver", None)
    with pytest.raises(MissingDependency, match=r"pip install 'deepfake-edge\[tensorrt\]'.*pip install cuda-python"):
        open_device()
    for binding in ("pycuda", "cuda-python"):
        with pytest.raises(MissingDependency, match="pip install"):
            open_device(0, binding)
    assert not any(cuda_double.live.values())


def test_a_pycuda_that_was_built_for_another_cuda_says_so(cuda_double, monkeypatch, tmp_path):
    package = tmp_path / "pycuda"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "driver.py").write_text(
        "import warnings\nwarnings.warn('Failed to import')\nraise ImportError('undefined symbol: cuNewest')\n"
    )
    for name in {"pycuda", "pycuda.driver", *(name for name in sys.modules if name.startswith("pycuda."))}:
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match=r"undefined symbol: cuNewest.*pip install --force-reinstall"):
        open_device(0, "pycuda")


def _run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def test_without_a_driver_it_says_how_to_get_one():
    has_driver = "import ctypes; ctypes.CDLL('libcuda.so.1')"
    if _run(has_driver).returncode == 0:
        pytest.skip("this machine has a driver")
    done = _run(
        "from deepfake_edge.cuda.device import open_device\n"
        "from deepfake_edge.errors import MissingDependency\n"
        "try: open_device()\n"
        "except MissingDependency as error: print(error)\n"
    )
    assert done.stderr == ""
    assert "driver is not installed" in done.stdout
    assert "ubuntu-drivers install" in done.stdout


@pytest.mark.parametrize("lost", [False, True])
def test_python_ends_cleanly_with_a_device_left_open(binding, lost):
    done = _run(
        "from doubles.cuda import load_cuda_double\n"
        "import atexit\n"
        "double = load_cuda_double(); double.reset()\n"
        "atexit.register(lambda: print(sum(double.live.values())))\n"
        "from deepfake_edge.cuda.device import open_device\n"
        "from deepfake_edge.errors import DeviceLost\n"
        f"device = open_device(0, {binding!r})\n"
        "with device.current():\n"
        "    stream, memory, pinned = device.stream(), device.allocate(16), device.pinned(16)\n"
        f"    if {lost}: double.fail('cuMemGetInfo_v2', 700)\n"
        "    try: device.memory_info()\n"
        "    except DeviceLost: print('lost')\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("lost\n0\n" if lost else "0\n")
