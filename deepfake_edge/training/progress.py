"""What is being done, told now and then while many items are gone through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

Progress: TypeAlias = Callable[[str], None]
Item = TypeVar("Item")

_EVERY_S = 5.0


def told(items: Sequence[Item], what: str, progress: Progress | None) -> Iterator[Item]:
    """Yield items; every 5 seconds say how far they are, as "what: 12 of 40"."""
    last = time.monotonic()
    for done, item in enumerate(items):
        if progress is not None and time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            progress(f"{what}: {done} of {len(items)}")
        yield item
