"""Networks over doubles of CUDA and TensorRT end cleanly, in whatever way they end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.errors import DeepfakeEdgeError, InferenceError
from unit.trt.engines import rows

WAIT_S = 30


def test_twice_and_calls_after_it(engines):
    network = engines.network()
    network.run({"crops": rows(3)})
    network.close()
    engines.nothing_is_left()
    network.close()
    with pytest.raises(InferenceError, match="tiny: is closed"):
        network.run({"crops": rows(3)})
    with pytest.raises(InferenceError, match="tiny: is closed"):
        network.run_on_device(1, lambda *_: None)


def test_who_asked_is_told_when_everything_is_freed(engines):
    told = []

    def on_close():
        engines.nothing_is_left()
        told.append(True)

    network = engines.network(on_close=on_close)
    assert not told
    network.close()
    network.close()
    assert len(told) == 1
    for wrong in ({"plan": b""}, {"lanes": 0}):
        with pytest.raises(DeepfakeEdgeError):
            engines.network(on_close=on_close, **wrong)
    assert len(told) == 3


def test_while_others_call(engines, expected):
    network = engines.network()
    started = threading.Barrier(7)

    def ask(number):
        started.wait(WAIT_S)
        for turn in range(10_000):
            crops = rows(1 + turn % 4, number)
            try:
                found = network.run({"crops": crops})
            except InferenceError as error:
                return str(error)
            np.testing.assert_array_equal(found["features"], expected(crops)["features"])
        raise AssertionError("it was never closed")

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(ask, number) for number in range(6)]
        started.wait(WAIT_S)
        time.sleep(0.02)
        closing = [pool.submit(network.close) for _ in range(2)]
        for close in closing:
            close.result(WAIT_S)
        engines.nothing_is_left()
        assert {call.result(WAIT_S) for call in calls} == {"tiny: is closed"}


def test_a_forgotten_network_frees_itself(engines):
    network = engines.network()
    network.run({"crops": rows(3)})
    engines.networks.clear()
    del network
    gc.collect()
    engines.nothing_is_left()


FORGETFUL = """
import atexit, weakref
import pytest
from deepfake_edge.cuda.device import open_device
from doubles.cuda import load_cuda_double
from doubles.tensorrt import install
from unit.trt.engines import Engines, rows

class Thing: pass
# Registers weakref's own hook, which thus runs last.
thing = Thing()
weakref.finalize(thing, int)
cuda = load_cuda_double()
cuda.reset()
tensorrt = install(pytest.MonkeyPatch(), "10.3", cuda)
atexit.register(lambda: print({name: n for name, n in cuda.live.items() if n}, tensorrt.errors))
engines = Engines(open_device(), tensorrt, cuda)
network = engines.network()
engines.networks.clear()
print(network.run({"crops": rows(2)})["features"].shape)
"""


def test_python_ends_first(cuda_double):
    tests = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", FORGETFUL],
        env={**os.environ, "PYTHONPATH": str(tests)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert done.stdout.splitlines() == ["(2, 5)", "{} []"]
    assert not done.stderr


def test_after_its_device(engines):
    network = engines.network()
    network.run({"crops": rows(3)})
    engines.device.close()
    with pytest.raises(InferenceError, match="closed"):
        network.run({"crops": rows(3)})
    network.close()


@pytest.mark.slow
def test_ten_thousand_calls_take_no_more_memory(engines, expected):
    network = engines.network(lanes=2)
    wanted = {count: expected(rows(count))["features"] for count in range(1, 9)}

    def ask(turns):
        for turn in range(turns):
            count = 1 + turn % 8
            assert (network.run({"crops": rows_of[count]})["features"] == wanted[count]).all()

    rows_of = {count: rows(count) for count in wanted}
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ask, 250) for _ in range(4)]:
            done.result(WAIT_S)
        live, before = dict(engines.cuda.live), resident_bytes()
        for done in [pool.submit(ask, 2500) for _ in range(4)]:
            done.result(4 * WAIT_S)
    assert dict(engines.cuda.live) == live
    assert resident_bytes() - before < 8 << 20


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
