"""Where results go: never over what is read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from deepfake_edge.errors import InvalidInput


def refuse_overwriting(targets: Iterable[str | Path | None], sources: Iterable[str | Path]) -> None:
    """Refuse a target that is a source, or that is given twice; `-` and None are no files.

    Raises:
        InvalidInput: names it.
    """
    taken = {_place(source): "is read" for source in sources}
    for target in targets:
        if target is None or str(target) == "-":
            continue
        place = _place(target)
        if place in taken:
            raise InvalidInput(f"{target}: {taken[place]} by this very command; give another name to write to")
        taken[place] = "is written already"


def _place(path: str | Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)  # no path at all: whoever opens it says so
