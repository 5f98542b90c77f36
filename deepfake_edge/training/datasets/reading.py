"""A folder of clips becomes a data set: its layout is recognised, its splits leak nobody, a subset can be taken."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from deepfake_edge.containers import VIDEO_SUFFIXES
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets import celeb_df, dfdc, faceforensics, plain
from deepfake_edge.training.datasets.copies import copied
from deepfake_edge.training.datasets.entries import ClipEntry, Dataset, Listing
from deepfake_edge.training.datasets.splits import SplitMode, assign, lacking, take

Kind: TypeAlias = Literal["auto", "faceforensics", "celebdf", "dfdc", "plain"]

KINDS: tuple[Kind, ...] = get_args(Kind)
SPLIT_MODES: tuple[SplitMode, ...] = get_args(SplitMode)
_RECOGNISERS = {
    "faceforensics": faceforensics.recognises,
    "celebdf": celeb_df.recognises,
    "dfdc": dfdc.recognises,
    "plain": plain.recognises,
}


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a data set is read.

    Attributes:
        kind: its layout; `auto` recognises it.
        splits: what becomes of the published split, see `splits.assign`.
        compression: of FaceForensics++; None where its folder has only one.
        most: clips, at most, see `splits.take`; None takes all.
    """

    kind: Kind = "auto"
    splits: SplitMode = "strict"
    compression: str | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("splits", SPLIT_MODES)):
            if getattr(self, name) not in known:
                raise InvalidInput(f"{name}: wanted one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.most is not None and self.most < 1:
            raise InvalidInput(f"most: wanted at least 1, got {self.most}")


def read_dataset(folder: Path, options: ReadOptions | None = None) -> Dataset:
    """List a data set's clips with their labels and splits. Nothing is decoded.

    Raises:
        InvalidInput: the folder has no known layout or no clip, or its lists are absent or damaged.
    """
    options = options or ReadOptions()
    found = _listing(folder, options)
    entries: list[ClipEntry] = []
    notes = list(found.notes)
    # FaceForensics++ is two data sets in one folder.
    names = list(dict.fromkeys(entry.dataset for entry in found.entries))
    for name in names:
        kept, of_splits = assign([entry for entry in found.entries if entry.dataset == name], options.splits)
        entries += kept
        notes += [f"{name}: {note}" for note in of_splits]
    entries.sort(key=lambda entry: entry.source)
    if options.most is not None and options.most < len(entries):
        notes.append(f"{options.most} of {len(entries)} clips taken")
        entries = take(entries, options.most)
    for name in names:
        notes += [f"{name}: {note}" for note in lacking(entry for entry in entries if entry.dataset == name)]
    notes += copied(folder, entries)
    return Dataset(folder, tuple(entries), tuple(notes), crossing=options.splits == "published")


def read_whole(folder: Path, kind: Kind = "auto", compression: str | None = None) -> Dataset:
    """List all of a data set's clips. No published list is needed, and an entry's split says nothing.

    Raises:
        InvalidInput: the folder has no known layout or no clip, or is damaged.
    """
    found = _listing(folder, ReadOptions(kind, "drawn", compression))
    return Dataset(folder, tuple(sorted(found.entries, key=lambda entry: entry.source)), found.notes, crossing=True)


def _listing(folder: Path, options: ReadOptions) -> Listing:
    """All clips. Raises InvalidInput: there is none."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: {'is not a folder' if folder.exists() else 'does not exist'}")
    found = _published(folder, options)
    if not found.entries:
        raise InvalidInput(f"{folder}: no clip in it")
    return replace(found, notes=(*found.notes, *_passed_over(folder, found)))


def _passed_over(folder: Path, found: Listing) -> list[str]:
    """A note on videos that lie where the layout has none."""
    listed = {entry.source for entry in found.entries}
    names = (Path(place, name) for place, _, names in os.walk(folder) for name in names if name[0] != ".")
    videos = (path.relative_to(folder).as_posix() for path in names if path.suffix.lower() in VIDEO_SUFFIXES)
    others = sorted(source for source in videos if source not in listed)
    return [f"videos that are not read, by this layout: {len(others)}, such as {others[0]}"] if others else []


def _published(folder: Path, options: ReadOptions) -> Listing:
    kind = options.kind if options.kind != "auto" else _recognised(folder)
    if options.compression is not None and kind != "faceforensics":
        raise InvalidInput(f"compression: goes with FaceForensics++ alone; {folder} is read as {kind}")
    published = options.splits != "drawn"
    if kind == "faceforensics":
        return faceforensics.listing(folder, options.compression, published)
    if kind == "celebdf":
        return celeb_df.listing(folder, published)
    return dfdc.listing(folder) if kind == "dfdc" else plain.listing(folder, published)


def _recognised(folder: Path) -> str:
    kinds = [kind for kind, recognises in _RECOGNISERS.items() if recognises(folder)]
    if len(kinds) > 1:
        raise InvalidInput(f"{folder}: may be {' or '.join(kinds)}; name one, for example: --kind {kinds[0]}")
    if kinds:
        return kinds[0]
    raise InvalidInput(
        f"{folder}: no known layout. Wanted FaceForensics++ (original_sequences/, manipulated_sequences/), Celeb-DF "
        f"(Celeb-real/, Celeb-synthesis/, YouTube-real/), DFDC (metadata.json; labels.csv with --kind dfdc), or "
        f"{plain.LAYOUT}"
    )
