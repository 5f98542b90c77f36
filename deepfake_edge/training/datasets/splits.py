"""Which part of a data set a clip belongs to, so that nobody is in two of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from deepfake_edge.training.datasets.entries import SPLITS, ClipEntry, Split

SplitMode: TypeAlias = Literal["strict", "published", "drawn"]

_SHARES: dict[Split, float] = {"train": 0.8, "val": 0.1, "test": 0.1}


def assign(entries: Sequence[ClipEntry], mode: SplitMode) -> tuple[list[ClipEntry], list[str]]:
    """Give every clip its split and leave out those that would take somebody into a second one.

    People are the identities that the data set names, else a clip's group. A published `val` and `test` stay as they
    are. Where there is none, what is published as `train` is shared out: 8 to 1 to 1 among what is missing, by a hash
    of its people.

    Args:
        entries: with their published splits.
        mode: `strict`, as above: somebody of the published test set is left out of `val` and `train`, somebody of
            `val` out of `train`; `published`: nobody is left out; `drawn`: the published split is not looked at, all
            is shared out, and clips that show people of two splits are left out.
    Returns:
        the clips that stay, and notes on what was left out, or crosses.
    """
    published = {"train"} if mode == "drawn" else {entry.split for entry in entries}
    open_splits = [split for split in SPLITS if split == "train" or split not in published]
    fixed = [split for split in SPLITS if split in published and (split != "train" or "val" in published)]
    owners: dict[str, Split] = {}
    # The last one wins: test, then val.
    for split in fixed:
        owners |= {name: split for entry in entries if entry.split == split for name in entry.people}
    kept: list[ClipEntry] = []
    crossing: Counter[tuple[Split, str]] = Counter()
    for entry in entries:
        split = entry.split if entry.split in fixed else draw(entry.people[0], open_splits)
        crosses = any(owners.get(name, draw(name, open_splits)) != split for name in entry.people)
        crossing[split, kind_of(entry)] += crosses
        if not crosses or mode == "published":
            kept.append(replace(entry, split=split))
    drawn = [] if "train" in fixed else open_splits[1:]
    return kept, [*_drawn(kept, drawn, mode), *_notes(crossing, mode)]


def draw(name: str, splits: Collection[Split]) -> Split:
    """One of some splits for a name: the same one in every process and on every machine."""
    place = _hash(name) * sum(_SHARES[split] for split in splits)
    for split in splits:
        place -= _SHARES[split]
        if place < 0:
            return split
    return "train"


def take(entries: Sequence[ClipEntry], most: int) -> list[ClipEntry]:
    """At most `most` clips: splits as they are to each other, then labels evenly, then manipulations evenly.

    Within these, clips are taken by a hash of their group and name: the same ones each time.
    """
    if len(entries) <= most:
        return list(entries)
    taken: list[ClipEntry] = []
    sizes = Counter(entry.split for entry in entries)
    left, clips = most, len(entries)
    for split in SPLITS:
        wanted = round(left * sizes[split] / clips) if clips else 0
        left, clips = left - wanted, clips - sizes[split]
        part = [entry for entry in entries if entry.split == split]
        by_label = _shared(wanted, Counter(entry.label for entry in part))
        for label, count in by_label.items():
            same = [entry for entry in part if entry.label == label]
            for kind, number in _shared(count, Counter(map(kind_of, same))).items():
                alike = [entry for entry in same if kind_of(entry) == kind]
                taken += sorted(alike, key=lambda entry: _hash(f"{entry.group}/{entry.name}"))[:number]
    return sorted(taken, key=lambda entry: entry.source)


def lacking(entries: Iterable[ClipEntry]) -> list[str]:
    """Notes on splits without a clip, and on those of one label, by which nothing can be told apart."""
    present = {(entry.split, entry.label) for entry in entries}
    labels = {split: {label for place, label in present if place == split} for split in SPLITS}
    absent = [split for split in SPLITS if not labels[split]]
    notes = [f"no clip is in {' or '.join(absent)}"] if absent else []
    notes += [f"{split} has no fakes" for split in SPLITS if labels[split] == {"real"}]
    notes += [f"{split} has no real clips" for split in SPLITS if labels[split] == {"fake"}]
    return notes


def kind_of(entry: ClipEntry) -> str:
    """`real`, or how the fake was made."""
    return entry.manipulation or entry.label


def counted(counts: Iterable[tuple[tuple[str, str], int]]) -> str:
    """Counts by split and kind, in words: `train: 3 real, 12 Deepfakes; test: 1 real`."""
    known = sorted(pair for pair in counts if pair[1])
    parts = []
    for split in SPLITS:
        kinds = [f"{count} {kind}" for (place, kind), count in known if place == split]
        if kinds:
            parts.append(f"{split}: {', '.join(kinds)}")
    return "; ".join(parts)


def _drawn(kept: Sequence[ClipEntry], drawn: Sequence[Split], mode: SplitMode) -> list[str]:
    if not drawn:
        return []
    whole = "people" if any(entry.identities for entry in kept) else "originals with their fakes"
    if mode == "drawn":
        return [f"splits drawn, {whole} whole; what is published is not looked at"]
    return [f"no {' or '.join(drawn)} is published: drawn from train, {whole} whole"]


def _notes(crossing: Counter[tuple[Split, str]], mode: SplitMode) -> list[str]:
    notes = []
    total = crossing.total()
    if total and mode == "published":
        words = "published split kept: of its clips, these show people of another split, so figures on val and test"
        notes.append(f"{words} are not of unseen people: {counted(crossing.items())}")
    elif total:
        notes.append(f"left out, because they show people of another split: {counted(crossing.items())}")
    return notes


def _shared(total: int, sizes: Counter[str]) -> dict[str, int]:
    """`total` shared out as evenly as the sizes allow."""
    shares: dict[str, int] = {}
    waiting = sorted(sizes, key=lambda name: (sizes[name], name))
    for place, name in enumerate(waiting):
        shares[name] = min(sizes[name], round((total - sum(shares.values())) / (len(waiting) - place)))
    return shares


def _hash(name: str) -> float:
    """0..1, evenly."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
