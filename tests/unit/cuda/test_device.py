"""The CUDA layer over the driver double: memory, streams, threads, closing."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.cuda.device import open_device
from deepfake_edge.errors import InferenceError, InvalidInput
from doubles.cuda import LIVE

NOTHING = dict.fromkeys(LIVE, 0)


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


def test_a_stream_keeps_what_it_copies_until_it_was_waited_for(device):
    out = np.zeros(4, np.uint8)
    source = np.full(4, 7, np.uint8)
    gone = weakref.ref(source)
    with device.current(), device.allocate(4) as memory, device.stream() as stream:
        device.copy_to_device(memory.address, source, stream)
        device.copy_from_device(out, memory.address, stream)
        del source
        assert gone() is not None
        stream.synchronize()
        assert gone() is None
    assert out.tolist() == [7, 7, 7, 7]


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
