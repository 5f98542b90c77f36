"""The CUDA layer over the driver double: memory, streams, threads, closing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.cuda.device import DeviceFacts, open_device
from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency

TESTS = Path(__file__).resolve().parents[2]
NOTHING = dict.fromkeys(
    ("device_bytes", "device_allocations", "pinned_allocations", "streams", "graphs", "modules", "contexts"), 0
)


def test_a_device_says_what_it_is(binding, cuda_double):
    cuda_double.facts(
        name="Orin", compute_capability=(8, 7), integrated=True, memory_bytes=7 << 30, driver_version="12.6"
    )
    with open_device(0, binding) as device:
        assert device.facts == DeviceFacts(0, "Orin", (8, 7), 7 << 30, True, "12.6")
        assert device.binding == binding


def test_numbers_go_there_and_come_back(device, cuda_double):
    values = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    out = np.zeros_like(values)
    with device.current(), device.allocate(values.nbytes) as memory, device.stream() as stream:
        device.copy_to_device(memory.address, values, stream)
        device.copy_from_device(out, memory.address, stream)
        stream.synchronize()
        assert memory.size_bytes == values.nbytes
    assert (out == values).all()
    assert cuda_double.live == {**NOTHING, "contexts": 1}


def test_copies_run_in_the_order_in_which_they_were_asked_for(device):
    one, two, out = (np.full(4, number, np.uint8) for number in (1, 2, 0))
    with device.current(), device.allocate(4) as memory, device.stream() as stream:
        device.copy_to_device(memory.address, one, stream)
        device.copy_from_device(out[:2], memory.address, stream)
        device.copy_to_device(memory.address, two, stream)
        device.copy_from_device(out[2:], memory.address, stream)
        stream.synchronize()
    assert out.tolist() == [1, 1, 2, 2]


def test_pinned_memory_is_seen_by_both_sides(device, cuda_double):
    with device.current(), device.pinned(8) as pinned:
        assert pinned.array.shape == (8,)
        assert pinned.array.dtype == np.uint8
        assert pinned.address == pinned.array.ctypes.data
        assert pinned.device_address != pinned.address
        pinned.array[:] = range(8)
        assert cuda_double.read(pinned.device_address, 8) == bytes(range(8))
        cuda_double.write(pinned.device_address + 4, b"\x63")
        assert pinned.array[4] == 0x63


def test_pinned_memory_can_be_copied_from(device):
    out = np.zeros(8, np.uint8)
    with device.current(), device.pinned(8) as pinned, device.allocate(8) as memory, device.stream() as stream:
        pinned.array[:] = range(8)
        device.copy_to_device(memory.address, pinned.array, stream)
        device.copy_from_device(out, memory.address, stream)
        stream.synchronize()
    assert out.tolist() == list(range(8))


def test_only_contiguous_writable_arrays_are_copied(device):
    read_only = np.zeros(4, np.uint8)
    read_only.flags.writeable = False
    with device.current(), device.allocate(8) as memory, device.stream() as stream:
        with pytest.raises(InvalidInput, match="contiguous"):
            device.copy_to_device(memory.address, np.zeros((4, 4), np.uint8)[:, :2], stream)
        with pytest.raises(InvalidInput, match="contiguous"):
            device.copy_from_device(np.zeros(8, np.uint8)[::2], memory.address, stream)
        with pytest.raises(InvalidInput, match="read-only"):
            device.copy_from_device(read_only, memory.address, stream)
        device.copy_to_device(memory.address, read_only, stream)
        for make in (device.allocate, device.pinned):
            with pytest.raises(InvalidInput, match="size_bytes is 0"):
                make(0)


def test_the_context_is_current_inside_and_not_outside(device, cuda_double):
    assert cuda_double.context_depth == 0
    with device.current():
        with device.current():
            assert cuda_double.context_depth == 1
        device.memory_info()
    assert cuda_double.context_depth == 0
    for use in (device.memory_info, device.stream, lambda: device.allocate(4), lambda: device.pinned(4)):
        with pytest.raises(InferenceError, match=r"inside `with device\.current\(\):`"):
            use()


def test_the_stack_of_contexts_is_balanced_after_errors(device, cuda_double):
    with pytest.raises(ZeroDivisionError), device.current(), device.current():
        _ = 1 / 0
    assert cuda_double.context_depth == 0
    cuda_double.fail("cuMemGetInfo_v2", 999)
    with pytest.raises(InferenceError), device.current():
        device.memory_info()
    assert cuda_double.context_depth == 0


def test_two_devices_may_be_nested(binding, cuda_double):
    with open_device(0, binding) as one, open_device(0, binding) as other, one.current():
        outer = one.allocate(16)
        with other.current():
            inner = other.allocate(16)
            with one.current():
                one.allocate(16)
            inner.free()
        outer.free()
        assert cuda_double.context_depth == 1
        assert cuda_double.live["contexts"] == 2


def test_threads_have_their_own_streams(device, cuda_double):
    wrong = []

    def use(number: int) -> None:
        values, out = np.full(1000, number, np.int32), np.zeros(1000, np.int32)
        for _ in range(200):
            with device.current(), device.allocate(values.nbytes) as memory, device.stream() as stream:
                out[:] = 0
                device.copy_to_device(memory.address, values, stream)
                device.copy_from_device(out, memory.address, stream)
                stream.synchronize()
            wrong.append((out != number).any())

    threads = [threading.Thread(target=use, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 400
    assert not any(wrong)
    assert cuda_double.live == {**NOTHING, "contexts": 1}


def test_another_thread_frees_and_closes(binding, cuda_double, capfd):
    device = open_device(0, binding)
    with device.current():
        stream, memory = device.stream(), device.allocate(16)
        device.pinned(16)

    def finish() -> None:
        stream.free()
        memory.free()
        device.close()

    thread = threading.Thread(target=finish)
    thread.start()
    thread.join()
    assert cuda_double.live == NOTHING
    assert capfd.readouterr().err == ""


def test_close_frees_all_and_may_be_called_twice(binding, cuda_double):
    device = open_device(0, binding)
    with device.current():
        memory, pinned, stream = device.allocate(16), device.pinned(16), device.stream()
        graph = device.capture(stream, lambda: None)
    device.close()
    device.close()
    assert cuda_double.live == NOTHING
    for resource in (memory, pinned, stream, graph):
        resource.free()


def test_nothing_is_used_after_it_was_freed_or_closed(binding, cuda_double):
    device = open_device(0, binding)
    with device.current():
        memory, pinned, stream = device.allocate(16), device.pinned(16), device.stream()
        graph = device.capture(stream, lambda: None)
        kept = device.allocate(16)
        for resource in (memory, pinned, graph, stream):
            resource.free()
            resource.free()
        uses = (
            lambda: memory.address,
            lambda: pinned.array,
            lambda: pinned.address,
            lambda: pinned.device_address,
            lambda: stream.handle,
            stream.synchronize,
            lambda: device.copy_to_device(kept.address, np.zeros(1, np.uint8), stream),
            lambda: device.copy_from_device(np.zeros(1, np.uint8), kept.address, stream),
            lambda: graph.launch(stream),
        )
        for use in uses:
            with pytest.raises(InferenceError, match="is freed"):
                use()
    device.close()
    for use in (device.memory_info, device.stream, lambda: device.allocate(1), lambda: device.current().__enter__()):
        with pytest.raises(InferenceError, match="is closed"):
            use()
    with pytest.raises(InferenceError, match="freed"):
        _ = kept.address


def test_a_device_is_not_closed_while_it_is_current(device, cuda_double):
    with device.current():
        memory = device.allocate(16)
        with pytest.raises(InferenceError, match=r"leave `current\(\)`"):
            device.close()
        assert memory.address
    assert cuda_double.live["contexts"] == 1


def test_ten_thousand_rounds_take_no_memory(device, cuda_double):
    out = np.zeros(64, np.float32)
    with device.current(), device.allocate(256) as memory, device.pinned(256) as pinned, device.stream() as stream:
        values = pinned.array.view(np.float32)

        def rounds(count: int) -> None:
            for number in range(count):
                values[:] = number
                device.copy_to_device(memory.address, pinned.array, stream)
                device.copy_from_device(out, memory.address, stream)
                stream.synchronize()
                assert out[-1] == number

        rounds(500)
        gc.collect()
        live, before = cuda_double.live, _resident_bytes()
        rounds(10_000)
        assert cuda_double.live == live
        # The double remembers the name of each of some 30,000 calls.
        assert _resident_bytes() - before < 2 << 20


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


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
    assert cuda_double.live == NOTHING


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
