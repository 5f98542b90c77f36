"""Threads inside a call, threads around it, and the interpreter that goes on meanwhile."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec

IMAGE = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
BOXES = np.array([[100 * i, 50 * i, 100 * i + 260, 50 * i + 300] for i in range(8)], np.float32)


@pytest.mark.parametrize("resize", ["linear", "area", "bilinear", "bicubic"])
@pytest.mark.parametrize("threads", [2, 3, 16])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_threads_do_not_change_a_byte(resize, threads, count):
    spec = CropSpec(resize=resize)
    alone = crop_batch(IMAGE, BOXES[:count], spec)
    np.testing.assert_array_equal(crop_batch(IMAGE, BOXES[:count], spec, threads=threads), alone)


def test_many_callers_at_once_get_the_same_bytes():
    specs = [CropSpec(resize=resize) for resize in ("linear", "area", "bilinear", "bicubic")]
    wanted = [crop_batch(IMAGE, BOXES, spec) for spec in specs]
    with ThreadPoolExecutor(16) as pool:
        jobs = [(i % 4, pool.submit(crop_batch, IMAGE, BOXES, specs[i % 4], None, 1 + i % 2)) for i in range(64)]
        for which, job in jobs:
            np.testing.assert_array_equal(job.result(), wanted[which])


def test_the_interpreter_goes_on_while_pixels_are_worked_on():
    """With a switch interval of minutes, the counter below only moves if the native code lets go of the lock."""
    boxes = np.repeat(BOXES, 12, axis=0)
    spec = CropSpec(resize="bicubic")
    out = np.empty((len(boxes), 3, spec.size_px, spec.size_px), np.float32)
    inside, done = threading.Event(), threading.Event()

    def work() -> None:
        inside.set()
        crop_batch(IMAGE, boxes, spec, out)
        done.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(600.0)
    try:
        worker = threading.Thread(target=work)
        worker.start()
        inside.wait()
        counted = 0
        while not done.is_set():
            counted += 1
            if counted % 64 == 0:
                # Lets the worker have the lock back at its end; it never needs it in between.
                threading.Event().wait(0.0001)
        worker.join()
    finally:
        sys.setswitchinterval(interval)
    assert counted > 100
