"""How long a call takes, its wait for the GPU included."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

_WARM_UP = 5


def median_ms(call: Callable[[], object], count: int = 50) -> float:
    """The median of `count` calls, after a few that are not counted."""
    for _ in range(_WARM_UP):
        call()
    times_s = []
    for _ in range(count):
        start_s = time.perf_counter()
        call()
        times_s.append(time.perf_counter() - start_s)
    return statistics.median(times_s) * 1e3
