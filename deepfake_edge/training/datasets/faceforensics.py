"""FaceForensics++ and its DeepFakeDetection part, as their download script lays them out.

    original_sequences/{youtube,actors}/COMPRESSION/videos/*.mp4
    manipulated_sequences/METHOD/COMPRESSION/videos/*.mp4
    train.json, val.json, test.json    pairs of sequences, here or in splits/

A sequence of YouTube has three digits; a fake is TARGET_SOURCE. An actor has two: ACTOR__SCENE, and a fake is
TARGET_SOURCE__SCENE__ID. The published split is of the YouTube sequences alone; the actors are a data set of their own.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import SPLITS, ClipEntry, Listing, Split, TrueLabel, list_files, refuse

NAME, OF_ACTORS = "FaceForensics++", "DeepFakeDetection"
COMPRESSIONS = ("raw", "c0", "c23", "c40")
_YOUTUBE = re.compile(r"(\d{3})(?:_(\d{3}))?")
_ACTOR = re.compile(r"(\d{2})(?:_(\d{2}))?__.+")
_LISTS_AT = "https://github.com/ondyari/FaceForensics/tree/master/dataset/splits"
_ORIGINAL, _MANIPULATED = "original_sequences", "manipulated_sequences"


def recognises(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return (folder / _ORIGINAL).is_dir() or (folder / _MANIPULATED).is_dir()


def listing(folder: Path, compression: str | None, published: bool) -> Listing:
    """Every clip of one compression.

    Args:
        folder: the data set.
        compression: one of COMPRESSIONS; None where the folder has only one.
        published: whether the published lists are read; else all clips are in `train`.
    Raises:
        InvalidInput: there are several compressions and none is named, a list is absent or damaged, or a clip has a
            name that the data set does not give.
    """
    chosen = _compression(folder, compression)
    clips: list[ClipEntry] = []
    strange: list[str] = []
    for videos in sorted(folder.glob(f"*_sequences/*/{chosen}/videos")):
        method = videos.parts[-3]
        for path in list_files(videos):
            source = path.relative_to(folder).as_posix()
            entry = _entry(source, method if videos.parts[-4] == _MANIPULATED else None)
            if entry is None:
                strange.append(source)
            else:
                clips.append(entry)
    if strange:
        raise refuse(f"{folder}: names that {NAME} does not give", strange, "move these clips elsewhere")
    return Listing(tuple(_with_splits(folder, clips) if published else clips), (f"compression {chosen}",))


def _compression(folder: Path, wanted: str | None) -> str:
    found = {path.parent.name for path in folder.glob("*_sequences/*/*/videos")}
    present = [name for name in COMPRESSIONS if name in found]
    if wanted is not None and wanted not in present:
        raise InvalidInput(f"compression: {folder} has {', '.join(present) or 'no clip'}, got {wanted!r}")
    if not present:
        raise InvalidInput(f"{folder}: no clip in it; wanted {_ORIGINAL}/youtube/c23/videos/*.mp4 and the like")
    if wanted is None and len(present) > 1:
        raise InvalidInput(f"{folder}: has {', '.join(present)}; name one, for example: --compression {present[-1]}")
    return wanted or present[0]


def _entry(source: str, method: str | None) -> ClipEntry | None:
    """A clip as its name tells; None where the name tells nothing."""
    for dataset, kind, pattern in ((NAME, "youtube", _YOUTUBE), (OF_ACTORS, "actor", _ACTOR)):
        match = pattern.fullmatch(PurePosixPath(source).stem)
        if match is None or (match[2] is None) != (method is None):
            continue
        identities = tuple(f"{kind}-{number}" for number in match.groups() if number)
        label: TrueLabel = "real" if method is None else "fake"
        return ClipEntry(source, label, "train", dataset, method, identities, identities[0])
    return None


def _with_splits(folder: Path, clips: list[ClipEntry]) -> list[ClipEntry]:
    if all(clip.dataset != NAME for clip in clips):
        return clips
    splits: dict[str, Split] = {number: split for split in SPLITS for number in _read_list(folder, split)}
    unlisted = sorted({clip.name for clip in clips if clip.dataset == NAME and clip.group not in splits})
    if unlisted:
        raise refuse(f"{folder}: sequences that are in none of its lists", unlisted, f"get the lists from {_LISTS_AT}")
    return [replace(clip, split=splits[clip.group]) if clip.dataset == NAME else clip for clip in clips]


def _read_list(folder: Path, split: Split) -> list[str]:
    places = [place for place in (folder, folder / "splits") if (place / f"{split}.json").is_file()]
    if not places:
        raise InvalidInput(
            f"{folder}: {split}.json, the published split, is not in it; get it from {_LISTS_AT}, "
            "or have people drawn: --splits drawn"
        )
    path = places[0] / f"{split}.json"
    try:
        return [_youtube(number) for pair in json.loads(path.read_bytes()) for number in pair]
    except (OSError, ValueError, TypeError, RecursionError) as error:
        wanted = f'a list of pairs like ["033", "097"] ({error}); get it from {_LISTS_AT}'
        raise InvalidInput(f"{path}: wanted {wanted}") from None


def _youtube(number: object) -> str:
    if not isinstance(number, str) or not re.fullmatch(r"\d{3}", number):
        raise ValueError(f"got {number!r}")
    return f"youtube-{number}"
