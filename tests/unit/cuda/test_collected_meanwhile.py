"""Python may collect a forgotten network at any moment, also in the middle of this layer's own bookkeeping."""

from __future__ import annotations

import threading


def test_what_is_collected_while_the_books_are_kept_is_freed(device, cuda_double):
    with device.current():
        forgotten = device.allocate(16)

    class Collecting(dict):
        """Where it is written, garbage is collected in the same thread."""

        def __setitem__(self, resource, value) -> None:
            super().__setitem__(resource, value)
            forgotten.free()

    device._context._open = Collecting(device._context._open)

    def work() -> None:
        with device.current():
            device.allocate(32).free()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert cuda_double.live["device_allocations"] == 0
