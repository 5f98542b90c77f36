"""Celeb-DF, versions 1 and 2.

    Celeb-real/idPERSON_NUMBER.mp4               YouTube-real/NUMBER.mp4
    Celeb-synthesis/idTARGET_idSOURCE_NUMBER.mp4
    List_of_testing_videos.txt                   lines of `1 PATH` (real) and `0 PATH` (fake)

The list names nearly everybody of Celeb-real, so the published split shares people between its parts: without them,
YouTube-real is all that is left to train on.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import ClipEntry, Listing, TrueLabel, list_files, refuse

NAME = "Celeb-DF"
LIST = "List_of_testing_videos.txt"
_SYNTHESIS = "Celeb-synthesis"
_NAMES = {
    "Celeb-real": re.compile(r"(id\d+)_\d+"),
    "YouTube-real": re.compile(r"\d+"),
    _SYNTHESIS: re.compile(r"(id\d+)_(id\d+)_\d+"),
}
_LINE = re.compile(r"([01])\s+(\S+)")


def recognises(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return any((folder / name).is_dir() for name in _NAMES)


def listing(folder: Path, published: bool) -> Listing:
    """Every clip.

    Args:
        folder: the data set.
        published: whether the list of test clips is read; else all clips are in `train`.
    Raises:
        InvalidInput: the list is absent or damaged, or a clip has a name that the data set does not give.
    """
    clips: dict[str, ClipEntry] = {}
    strange: list[str] = []
    for part, pattern in _NAMES.items():
        for path in list_files(folder / part):
            match = pattern.fullmatch(path.stem)
            name = f"{part}/{path.name}"
            if match is None:
                strange.append(name)
                continue
            label: TrueLabel = "fake" if part == _SYNTHESIS else "real"
            people = match.groups()
            kind = part if label == "fake" else None
            clips[name] = ClipEntry(name, label, "train", NAME, kind, people, people[0] if people else name)
    if strange:
        raise refuse(f"{folder}: names that {NAME} does not give", strange, "move these clips elsewhere")
    return _with_test(folder, clips) if published else Listing(tuple(clips.values()))


def _with_test(folder: Path, clips: dict[str, ClipEntry]) -> Listing:
    listed = _read_list(folder / LIST)
    wrong = [name for name, label in listed.items() if name in clips and clips[name].label != label]
    if wrong:
        raise refuse(f"{folder / LIST}: labels that are not their folders'", wrong, "1 is real, 0 is fake")
    absent = sum(name not in clips for name in listed)
    notes = (f"{absent} of the {len(listed)} clips in {LIST} are not in the folder",) if absent else ()
    entries = (replace(clip, split="test") if name in listed else clip for name, clip in clips.items())
    return Listing(tuple(entries), notes)


def _read_list(path: Path) -> dict[str, TrueLabel]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InvalidInput(
            f"{path}: is not there; it comes with the data set. To have people drawn instead: --splits drawn"
        ) from None
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error})") from None
    listed: dict[str, TrueLabel] = {}
    for number, line in enumerate(lines, 1):
        match = _LINE.fullmatch(line.strip())
        if match is None and line.strip():
            raise InvalidInput(f"{path}: line {number}: wanted `1 Celeb-real/id0_0000.mp4` or `0 ...`, got {line!r}")
        if match is not None:
            listed[match[2]] = "real" if match[1] == "1" else "fake"
    return listed
