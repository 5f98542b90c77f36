"""The Deepfake Detection Challenge: parts, each with a metadata.json beside its clips.

    dfdc_train_part_0/metadata.json    {"a.mp4": {"label": "FAKE", "split": "train", "original": "b.mp4"}, ...}
    dfdc_train_part_0/*.mp4

Nobody is named: clips of one original are kept together; a fake without one is by itself.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import ClipEntry, Listing, Split, TrueLabel, list_files, refuse

NAME = "DFDC"
_METADATA = "metadata.json"
_PLACES = (_METADATA, f"*/{_METADATA}", f"*/*/{_METADATA}")
_LABELS: dict[str, TrueLabel] = {"REAL": "real", "FAKE": "fake"}
_SPLITS: dict[str, Split] = {"train": "train", "validation": "val", "val": "val", "test": "test"}


def recognises(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return any(_parts(folder))


def listing(folder: Path) -> Listing:
    """Every clip that a metadata.json tells of and that is there.

    Raises:
        InvalidInput: a metadata.json is damaged, or a clip is not in it.
    """
    entries: list[ClipEntry] = []
    absent = 0
    parts = _parts(folder)
    if not parts:
        raise InvalidInput(f"{folder}: no {_METADATA} in it or its parts; it comes with the data set")
    for path in parts:
        records = _read(path)
        clips = list_files(path.parent)
        unknown = [clip.name for clip in clips if clip.name not in records]
        if unknown:
            raise refuse(f"{path}: does not tell of clips beside it", unknown, "move these clips elsewhere")
        absent += len(records) - len(clips)
        entries += [_entry(clip.relative_to(folder).as_posix(), records[clip.name], path) for clip in clips]
    notes = [f"{absent} clips that {_METADATA} tells of are not in the folder"] if absent else []
    alone = sum(entry.label == "fake" and entry.group == entry.name for entry in entries)
    if alone:
        where = "each may be in another split than the clip it was made from"
        notes.append(f"fakes without an original in {_METADATA}: {alone}; {where}")
    return Listing(tuple(entries), tuple(notes))


def _parts(folder: Path) -> list[Path]:
    return sorted({path for place in _PLACES for path in folder.glob(place)})


def _read(path: Path) -> dict[str, Any]:
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error}); unpack this part again") from None
    if not isinstance(records, dict):
        raise InvalidInput(f"{path}: wanted an object with a record for each clip, found {type(records).__name__}")
    return records


def _entry(source: str, record: Any, metadata: Path) -> ClipEntry:
    name = PurePosixPath(source).name
    given = record if isinstance(record, dict) else {}
    label, split = _LABELS.get(str(given.get("label"))), _SPLITS.get(str(given.get("split")))
    if label is None or split is None:
        wanted = f"a label of {', '.join(_LABELS)} and a split of {', '.join(_SPLITS)}"
        raise InvalidInput(f"{metadata}: {name}: wanted {wanted}, got {record!r}")
    original = given.get("original") or name
    if not isinstance(original, str):
        raise InvalidInput(f"{metadata}: {name}: wanted the name of a clip as its original, got {original!r}")
    return ClipEntry(source, label, split, NAME, None, (), original)
