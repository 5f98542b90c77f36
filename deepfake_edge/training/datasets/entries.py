"""What a data set says of its clips."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from deepfake_edge.containers import VIDEO_SUFFIXES
from deepfake_edge.errors import InvalidInput

TrueLabel: TypeAlias = Literal["real", "fake"]
Split: TypeAlias = Literal["train", "val", "test"]

LABELS: tuple[TrueLabel, ...] = ("real", "fake")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_NAMED = 3


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """One clip of a data set.

    Attributes:
        source: the file, relative to the data set's folder, with forward slashes.
        label: the truth.
        split: the part that it belongs to.
        dataset: the data set's name.
        manipulation: how a fake was made, in the data set's own words; None where it is real or not said.
        identities: who is seen or was put in; empty where the data set names nobody.
        group: clips of one group never cross a split: an identity, an original, or the file itself.
    """

    source: str
    label: TrueLabel
    split: Split
    dataset: str
    manipulation: str | None
    identities: tuple[str, ...]
    group: str

    @property
    def name(self) -> str:
        """The file's name."""
        return PurePosixPath(self.source).name

    @property
    def people(self) -> tuple[str, ...]:
        """Who must not be in two splits: the identities, else the group."""
        return self.identities or (self.group,)


@dataclass(frozen=True, slots=True)
class Listing:
    """What is found in a data set's folder, with the split as it is published.

    Attributes:
        entries: every clip; `train` where nothing is published of it.
        notes: what a user should know.
    """

    entries: tuple[ClipEntry, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """The clips of a data set that are to be used.

    Attributes:
        folder: where it is.
        entries: in the order of their sources.
        notes: what was left out and why, and what else a user should know.
        crossing: somebody may be in two splits, as the published ones are.
    """

    folder: Path
    entries: tuple[ClipEntry, ...]
    notes: tuple[str, ...] = ()
    crossing: bool = False

    def path(self, entry: ClipEntry) -> Path:
        """Where a clip's file is."""
        return self.folder / entry.source


def list_files(folder: Path, suffixes: frozenset[str] = VIDEO_SUFFIXES, *, below: bool = False) -> list[Path]:
    """The files of a folder with such endings, by name; hidden ones are left alone.

    Args:
        folder: where to look; one that is not there has none.
        suffixes: endings in lower case, with their dots.
        below: whether to look into the folders in it, too; one that links lead to again is looked into once.
    Raises:
        InvalidInput: a folder cannot be read, or a link leads nowhere: clips would be missing without a word.
    """
    found: list[Path] = []
    been = {str(around) for around in folder.resolve().parents}
    for place, inner, names in os.walk(folder, onerror=_refuse_folder, followlinks=True):
        if (there := os.path.realpath(place)) in been:
            inner.clear()
            continue
        been.add(there)
        found += [Path(place) / name for name in names if name[0] != "."]
        # A folder before the links to it: its name is the method's.
        inner[:] = sorted(inner, key=lambda name: (os.path.islink(os.path.join(place, name)), name)) if below else ()
    videos = sorted(file for file in found if file.suffix.lower() in suffixes)
    dangling = [str(file) for file in videos if not file.exists()]
    if dangling:
        raise refuse("links to files that are not there", dangling, "mount what they lead to, or remove them")
    return [file for file in videos if file.is_file()]


def _refuse_folder(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise InvalidInput(f"{error.filename}: cannot be read: {error.strerror}") from None


def refuse(what: str, names: list[str], advice: str) -> InvalidInput:
    """The error over files or records that are not as the data set has them; the first few are named."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return InvalidInput(f"{what}: {', '.join(names[:_NAMED])}{more}; {advice}")
