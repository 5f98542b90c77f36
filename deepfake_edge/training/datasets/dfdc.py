"""The Deepfake Detection Challenge: parts, each with a metadata.json or a labels.csv beside its clips.

    train/dfdc_train_part_0/metadata.json    {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, ...}
    validation/labels.csv                    a line of titles, then lines of `c.mp4,1` (fake) and `d.mp4,0` (real)
    test/metadata.json                       {"e.mp4": {"is_fake": 1, ...}, ...}

Nobody is named: clips of one original are kept together; a fake without one is by itself. A part that names no split is
what its folder is called, else test.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path, PurePosixPath
from typing import Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import ClipEntry, Listing, Split, TrueLabel, list_files, refuse

NAME = "DFDC"
_METADATA, _TABLE = "metadata.json", "labels.csv"
_BELOW = ("", "*/", "*/*/")
_LABELS: dict[str, TrueLabel] = {"REAL": "real", "FAKE": "fake", "0": "real", "1": "fake"}
_SPLITS: dict[str, Split] = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def recognises(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return any(path.name == _METADATA for path in _parts(folder))


def listing(folder: Path) -> Listing:
    """Every clip that a part's file tells of and that is there.

    Raises:
        InvalidInput: such a file is damaged, or a clip is not in it.
    """
    entries: list[ClipEntry] = []
    absent = 0
    parts = _parts(folder)
    if not parts:
        raise InvalidInput(f"{folder}: no {_METADATA} or {_TABLE} in it or its parts; it comes with the data set")
    for path in parts:
        records = _read_table(path) if path.name == _TABLE else _read(path)
        clips = list_files(path.parent)
        unknown = [clip.name for clip in clips if clip.name not in records]
        if unknown:
            raise refuse(f"{path}: does not tell of clips beside it", unknown, "move these clips elsewhere")
        absent += len(records) - len(clips)
        entries += [_entry(clip.relative_to(folder).as_posix(), records[clip.name], path) for clip in clips]
    notes = [f"{absent} clips that {_METADATA} or {_TABLE} tells of are not in the folder"] if absent else []
    alone = sum(entry.label == "fake" and entry.group == entry.name for entry in entries)
    if alone:
        where = "each may be in another split than the clip it was made from"
        notes.append(f"fakes without an original in {_METADATA}: {alone}; {where}")
    return Listing(tuple(entries), tuple(notes))


def _parts(folder: Path) -> list[Path]:
    """What tells of the clips beside it; of both in one folder the metadata.json, which tells more."""
    found = (path for name in (_TABLE, _METADATA) for place in _BELOW for path in folder.glob(place + name))
    return sorted({path.parent: path for path in found}.values())


def _read(path: Path) -> dict[str, Any]:
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error}); unpack this part again") from None
    if not isinstance(records, dict):
        raise InvalidInput(f"{path}: wanted an object with a record for each clip, found {type(records).__name__}")
    return records


def _read_table(path: Path) -> dict[str, Any]:
    try:
        _, *rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        return {name: {"is_fake": label} for name, label in rows}
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidInput(f"{path}: wanted titles and then lines like `a.mp4,1`: {error}; unpack it again") from None


def _entry(source: str, record: Any, metadata: Path) -> ClipEntry:
    name = PurePosixPath(source).name
    given = record if isinstance(record, dict) else {}
    if "is_fake" in given:
        part = metadata.parent.name
        given = {"label": given["is_fake"], "split": part if part in _SPLITS else "test"}
    label, split = _LABELS.get(str(given.get("label"))), _SPLITS.get(str(given.get("split")))
    if label is None or split is None:
        wanted = f"a label of {', '.join(_LABELS)} and a split of {', '.join(_SPLITS)}"
        raise InvalidInput(f"{metadata}: {name}: wanted {wanted}, got {record!r}")
    original = given.get("original") or name
    if not isinstance(original, str):
        raise InvalidInput(f"{metadata}: {name}: wanted the name of a clip as its original, got {original!r}")
    return ClipEntry(source, label, split, NAME, None, (), original)
