"""Python's collector frees device memory at any moment, but not while a stream is recorded."""

from __future__ import annotations

import gc


class Circle:
    """Garbage that only the collector frees, and that frees device memory then."""

    def __init__(self, memory) -> None:
        self.memory, self.myself = memory, self

    def __del__(self) -> None:
        self.memory.free()


def test_garbage_does_not_end_a_recording(device):
    with device.current():
        stream = device.stream()
        before = gc.get_threshold()
        Circle(device.allocate(16))
        try:

            def work() -> None:
                gc.set_threshold(1, 1, 1)
                [[] for _ in range(1000)]

            graph = device.capture(stream, work)
        finally:
            gc.set_threshold(*before)
        assert graph is not None
        assert gc.isenabled()
        graph.free()
        gc.collect()
        stream.free()
