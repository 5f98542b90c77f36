"""A prepared folder: face pictures of clips with their boxes, and what is known of each clip.

    prepared.json           format and settings
    clips/ID/clip.json      what is known of the clip; of one that is left out, why
    clips/ID/000.png ...    its face pictures, in the order of their times

A *face picture* is the square around a face's box, twice the box's longer side, cut at the frame's edges: uint8
(H, W, 3), BGR, lossless, at the frame's own resolution, shrunk by area where its longer side exceeds `most_px`. Its
box is in the picture's own pixels, so `preprocess.crop_batch` cuts from it what it would cut from the frame, for
margins up to 2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from deepfake_edge.data import Box, Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.datasets.entries import LABELS, SPLITS, ClipEntry, Split
from deepfake_edge.training.preparing.settings import Settings

FORMAT = 1
INDEX, CLIPS, RECORD = "prepared.json", "clips", "clip.json"

Landmarks: TypeAlias = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ClipRecord:
    """A clip that was looked at.

    Attributes:
        entry: what the data set says of it.
        folder: its own folder within the prepared one.
    """

    entry: ClipEntry
    folder: Path

    @property
    def id(self) -> str:
        """Its name within the prepared folder."""
        return self.folder.name


@dataclass(frozen=True, slots=True)
class LeftOut(ClipRecord):
    """A clip without face pictures, and the reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class PreparedClip(ClipRecord):
    """A clip's face pictures; the tuples have one item a picture.

    Attributes:
        times_s: since the clip's first frame.
        boxes: the face, in the picture's pixels; may leave it.
        seen: False where the finder missed the face and the box is the mean of its neighbours'.
        landmarks: in the picture's pixels; None where the finder gave none.
    """

    times_s: tuple[float, ...]
    boxes: tuple[Box, ...]
    seen: tuple[bool, ...]
    landmarks: tuple[Landmarks | None, ...]

    def pictures(self, places: Iterable[int] | None = None) -> list[Pixels]:
        """Read face pictures, uint8 (H, W, 3), BGR; sizes differ.

        Args:
            places: which, 0-based; None reads all.
        Raises:
            SourceError: one is absent or damaged.
        """
        wanted = range(len(self.times_s)) if places is None else places
        return [read_picture(self.folder / picture_name(place)).pixels for place in wanted]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared folder.

    Attributes:
        folder: where it is.
        settings: how its pictures were taken.
        clips: in the order of their ids.
        left_out: clips without face pictures, in the order of their ids.
    """

    folder: Path
    settings: Settings
    clips: tuple[PreparedClip, ...]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def records(self) -> tuple[PreparedClip | LeftOut, ...]:
        """Every clip that was looked at."""
        return (*self.clips, *self.left_out)

    def of(self, split: Split) -> tuple[PreparedClip, ...]:
        """The clips of one split."""
        return tuple(clip for clip in self.clips if clip.entry.split == split)


def read_prepared(folder: Path) -> Prepared:
    """Read what `deepfake-edge prepare` wrote; pictures are read when a clip is asked for them.

    Raises:
        InvalidInput: it is no prepared folder, of another format, or a record of it is damaged.
    """
    settings = read_settings(folder)
    clips: list[PreparedClip] = []
    left_out: list[LeftOut] = []
    for place in sorted((folder / CLIPS).iterdir()) if (folder / CLIPS).is_dir() else ():
        if place.name.startswith("."):
            continue
        record = read_record(place)
        if isinstance(record, LeftOut):
            left_out.append(record)
        else:
            clips.append(record)
    return Prepared(folder, settings, tuple(clips), tuple(left_out))


def read_settings(folder: Path) -> Settings:
    """The settings of a prepared folder. Raises InvalidInput."""
    path = folder / INDEX
    if not path.is_file():
        raise InvalidInput(f"{folder}: is no prepared folder (it has no {INDEX}). Make one with: deepfake-edge prepare")
    found = _read_json(path)
    if found.get("format") != FORMAT:
        raise InvalidInput(f"{path}: wanted format {FORMAT}, found {found.get('format')!r}; prepare the clips again")
    try:
        return Settings(**found["settings"])
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{path}: is damaged ({error}); prepare the clips again into a new folder") from None


def read_record(place: Path) -> PreparedClip | LeftOut:
    """One clip of a prepared folder, by its own folder. Raises InvalidInput."""
    path = place / RECORD
    found = _read_json(path)
    try:
        if found["left_out"] is not None:
            return LeftOut(_entry(found), place, str(found["left_out"]))
        return _clip(place, found)
    except (KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise InvalidInput(f"{path}: is damaged ({what}); delete {place} and run prepare again") from None


def record_of(clip: PreparedClip | LeftOut) -> dict[str, Any]:
    """A clip as it is written to its `clip.json`."""
    known = asdict(clip.entry)
    if isinstance(clip, LeftOut):
        return {**known, "left_out": clip.reason, "pictures": []}
    columns = zip(clip.times_s, clip.boxes, clip.seen, clip.landmarks, strict=True)
    pictures = [dict(zip(("time_s", "box", "seen", "landmarks"), column, strict=True)) for column in columns]
    return {**known, "left_out": None, "pictures": pictures}


def picture_name(place: int) -> str:
    """The file of a clip's face picture, by its 0-based number."""
    return f"{place:03d}.png"


def _clip(place: Path, found: Mapping[str, Any]) -> PreparedClip:
    pictures = found["pictures"]
    times_s = tuple(float(picture["time_s"]) for picture in pictures)
    if not times_s or not all(map(math.isfinite, times_s)) or list(times_s) != sorted(times_s):
        raise ValueError(f"wanted pictures in the order of their times, found times {times_s[:3]}...")
    return PreparedClip(
        _entry(found),
        place,
        times_s=times_s,
        boxes=tuple(_box(picture["box"]) for picture in pictures),
        seen=tuple(bool(picture["seen"]) for picture in pictures),
        landmarks=tuple(_landmarks(picture["landmarks"]) for picture in pictures),
    )


def _entry(found: Mapping[str, Any]) -> ClipEntry:
    if found["label"] not in LABELS or found["split"] not in SPLITS:
        raise ValueError(f"label {found['label']!r}, split {found['split']!r}")
    names = tuple(str(name) for name in found["identities"])
    return ClipEntry(**{field.name: found[field.name] for field in fields(ClipEntry)} | {"identities": names})


def _box(found: Any) -> Box:
    left, top, right, bottom = (float(side) for side in found)
    if not all(map(math.isfinite, (left, top, right, bottom))) or right <= left or bottom <= top:
        raise ValueError(f"box {found!r}")
    return (left, top, right, bottom)


def _landmarks(found: Any) -> Landmarks | None:
    return None if found is None else tuple((float(x), float(y)) for x, y in found)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error}); prepare the clips again") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{path}: wanted an object, found {type(found).__name__}; prepare the clips again")
    return found
