"""Calls that wait are computed together, in order; nobody hangs, whatever fails."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepfake_edge.engines.merging import Merger
from deepfake_edge.errors import DeviceLost, InferenceError, OutOfDeviceMemory

WAIT_S = 5


class Lane:
    """Adds 1 to each row; counts its batches, and refuses two threads at once."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.closed = 0
        self._busy = threading.Lock()

    def compute(self, given):
        assert self._busy.acquire(blocking=False), "two threads on one lane"
        try:
            self.batches.append(sum(len(rows) for rows in given))
            return [[value + 1 for value in rows] for rows in given]
        finally:
            self._busy.release()

    def close(self) -> None:
        self.closed += 1


class GatedLane(Lane):
    """Computes when its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def compute(self, given):
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        return super().compute(given)


def merger(first, make=None, compute=None, lanes=1, rows=8):
    return Merger(
        first, make or Lane, compute or (lambda lane, given: lane.compute(given)), lanes=lanes, rows=rows, name="m"
    )


def call(work, *values):
    return work.run([(len(values), list(values))])[0]


def queued(work, count):
    """Wait until so many calls wait."""
    for _ in range(1000):
        if len(work._waiting) == count:
            return
        threading.Event().wait(0.005)
    raise AssertionError(f"wanted {count} waiting calls, found {len(work._waiting)}")


def test_calls_that_wait_become_one_batch_as_far_as_they_fit():
    lane = GatedLane()
    work = merger(lane, rows=8)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(call, work, 0)
        assert lane.entered.acquire(timeout=WAIT_S)
        others = []
        for number in range(5):
            others.append(pool.submit(call, work, 10 * number, 10 * number + 1, 10 * number + 2))
            queued(work, number + 1)
        lane.gate.set()
        assert first.result(WAIT_S) == [1]
        for number, other in enumerate(others):
            assert other.result(WAIT_S) == [10 * number + 1, 10 * number + 2, 10 * number + 3]
    assert lane.batches == [1, 6, 6, 3]
    work.close()


def test_pieces_come_back_in_order_and_a_full_one_is_alone():
    lane = Lane()
    work = merger(lane, rows=4)
    assert work.run([(4, [1, 2, 3, 4]), (4, [5, 6, 7, 8]), (1, [9])]) == [[2, 3, 4, 5], [6, 7, 8, 9], [10]]
    assert lane.batches == [4, 4, 1]


def test_a_second_lane_is_made_when_it_is_needed_and_no_third():
    made = []

    def make():
        made.append(GatedLane())
        return made[-1]

    first = GatedLane()
    work = merger(first, make, lanes=2)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call, work, 0)]
        assert first.entered.acquire(timeout=WAIT_S)
        assert not made
        calls.append(pool.submit(call, work, 1))
        queued(work, 0)
        calls.append(pool.submit(call, work, 2))
        queued(work, 1)
        assert len(made) == 1
        assert made[0].entered.acquire(timeout=WAIT_S)
        made[0].gate.set()
        assert [each.result(WAIT_S) for each in calls[1:]] == [[2], [3]]
        first.gate.set()
        assert calls[0].result(WAIT_S) == [1]
    work.close()
    assert (first.closed, made[0].closed) == (1, 1)


def test_whoever_is_next_is_told_of_another_free_lane():
    lanes = [GatedLane(), GatedLane(), GatedLane()]
    work = merger(lanes[0], rows=1)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(call, work, 0)]
        assert lanes[0].entered.acquire(timeout=WAIT_S)
        for number in (1, 2):
            calls.append(pool.submit(call, work, number))
            queued(work, number)
        # As if both were given back before the first of those who wait has woken up.
        with work._changed:
            work._free.extend(lanes[1:])
            work._changed.notify()
        told = all(lane.entered.acquire(timeout=WAIT_S) for lane in lanes[1:])
        for lane in lanes:
            lane.gate.set()
        assert [each.result(WAIT_S) for each in calls] == [[1], [2], [3]]
    assert told
    work.close()


def test_without_memory_for_a_second_lane_it_goes_on_with_one(caplog):
    def make():
        raise OutOfDeviceMemory("16 MiB wanted")

    lane = GatedLane()
    work = merger(lane, make, lanes=3)
    with ThreadPoolExecutor(3) as pool, caplog.at_level(logging.WARNING):
        calls = [pool.submit(call, work, number) for number in range(3)]
        assert lane.entered.acquire(timeout=WAIT_S)
        queued(work, 2)
        lane.gate.set()
        assert [each.result(WAIT_S) for each in calls] == [[1], [2], [3]]
    assert lane.batches == [1, 2]
    assert [line.getMessage() for line in caplog.records] == ["m: goes on with fewer batches at a time: 16 MiB wanted"]


def test_a_lost_device_is_said_to_whoever_wanted_the_second_lane():
    def make():
        raise DeviceLost("gone")

    lane = GatedLane()
    work = merger(lane, make, lanes=2)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(call, work, 0)
        assert lane.entered.acquire(timeout=WAIT_S)
        with pytest.raises(DeviceLost, match="gone"):
            call(work, 1)
        lane.gate.set()
        assert first.result(WAIT_S) == [1]
    assert call(work, 2) == [3]


def test_an_error_reaches_every_call_of_its_batch_and_no_other():
    lane = GatedLane()

    def compute(lane, given):
        got = lane.compute(given)
        if any(13 in rows for rows in given):
            raise InferenceError("13")
        return got

    work = merger(lane, compute=compute, rows=4)
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(call, work, 0)]
        assert lane.entered.acquire(timeout=WAIT_S)
        for number, values in enumerate(((1, 2), (13, 3), (4, 5), (6,))):
            calls.append(pool.submit(call, work, *values))
            queued(work, number + 1)
        lane.gate.set()
        assert calls[0].result(WAIT_S) == [1]
        for failed in calls[1:3]:
            with pytest.raises(InferenceError, match="13"):
                failed.result(WAIT_S)
        assert calls[3].result(WAIT_S) == [5, 6]
        assert calls[4].result(WAIT_S) == [7]
    assert call(work, 1) == [2]


def test_an_interrupted_thread_leaves_the_others_their_turn():
    lane = GatedLane()
    interrupted = []

    def compute(lane, given):
        got = lane.compute(given)
        if 13 in given[0] and not interrupted:
            interrupted.append(len(given))
            raise KeyboardInterrupt
        return got

    work = merger(lane, compute=compute)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(call, work, 0)
        assert lane.entered.acquire(timeout=WAIT_S)
        second = pool.submit(call, work, 13)
        queued(work, 1)
        third = pool.submit(call, work, 1)
        queued(work, 2)
        lane.gate.set()
        assert first.result(WAIT_S) == [1]
        with pytest.raises(KeyboardInterrupt):
            second.result(WAIT_S)
        assert third.result(WAIT_S) == [2]
    assert interrupted == [2]
    work.close()
    assert lane.closed == 1


def test_close_waits_for_calls_that_run_or_wait_and_refuses_later_ones():
    lane = GatedLane()
    work = merger(lane, rows=2)
    with ThreadPoolExecutor(4) as pool:
        running = pool.submit(work.run, [(2, [0, 1]), (1, [2])])
        assert lane.entered.acquire(timeout=WAIT_S)
        waiting = pool.submit(call, work, 3)
        queued(work, 1)
        closing = pool.submit(work.close)
        while not work._closed:
            threading.Event().wait(0.005)
        assert not lane.closed
        with pytest.raises(InferenceError, match="m: is closed"):
            call(work, 4)
        lane.gate.set()
        closing.result(WAIT_S)
        assert running.result(WAIT_S) == [[1, 2], [3]]
        assert waiting.result(WAIT_S) == [4]
    work.close()
    assert lane.closed == 1


def test_many_threads_get_their_own_rows():
    work = merger(Lane(), lanes=2, rows=5)

    def ask(number):
        for turn in range(200):
            base = 1000 * number + turn
            values = [base + row for row in range(1 + turn % 5)]
            assert call(work, *values) == [value + 1 for value in values]

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask, number) for number in range(8)]:
            done.result(60)
    work.close()
