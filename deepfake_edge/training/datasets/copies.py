"""Files that are in a data set twice, where they must not be."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from deepfake_edge.training.datasets.entries import ClipEntry


def copied(folder: Path, entries: Sequence[ClipEntry]) -> list[str]:
    """Notes on copies of one file that are both real and fake, and on those in two splits.

    Files of one size are compared; empty ones, and those that cannot be read, are left alone.
    """
    by_label: list[tuple[ClipEntry, ClipEntry]] = []
    by_split: list[tuple[ClipEntry, ClipEntry]] = []
    for first, second in _copies(folder, entries):
        if first.label != second.label:
            by_label.append((first, second))
        if first.split != second.split:
            by_split.append((first, second))
    return [*_note("are both real and fake", by_label), *_note("are in two splits", by_split)]


def _note(what: str, pairs: Sequence[tuple[ClipEntry, ClipEntry]]) -> list[str]:
    if not pairs:
        return []
    first, second = pairs[0]
    return [f"copies of one file that {what}: {len(pairs)}, such as {first.source} and {second.source}"]


def _copies(folder: Path, entries: Sequence[ClipEntry]) -> Iterator[tuple[ClipEntry, ClipEntry]]:
    """Each copy, with the first of its kind."""
    by_size: defaultdict[int, list[ClipEntry]] = defaultdict(list)
    for entry in entries:
        with suppress(OSError):
            by_size[(folder / entry.source).stat().st_size].append(entry)
    by_size.pop(0, None)
    for alike in by_size.values():
        originals: list[ClipEntry] = []
        for entry in alike:
            original = next((first for first in originals if _same(folder / first.source, folder / entry.source)), None)
            if original is None:
                originals.append(entry)
            else:
                yield original, entry


def _same(first: Path, second: Path) -> bool:
    with suppress(OSError):
        return filecmp.cmp(first, second, shallow=False)
    return False
