"""Writes a prepared folder: a clip's folder appears whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfake_edge.data import Pixels
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.optional import require
from deepfake_edge.sealed import write_atomically
from deepfake_edge.training.preparing.prepared import (
    CLIPS,
    FORMAT,
    INDEX,
    RECORD,
    LeftOut,
    PreparedClip,
    picture_name,
    read_settings,
    record_of,
)
from deepfake_edge.training.preparing.settings import Settings

cv2 = require("cv2")

_UNFINISHED = ".unfinished-"


def start(folder: Path, settings: Settings) -> None:
    """Make a prepared folder, or check that one was made with these settings.

    Raises:
        InvalidInput: it was prepared with other settings, or holds something else.
        OSError: it cannot be written.
    """
    if (folder / INDEX).exists():
        _check_same(folder, read_settings(folder), settings)
    elif folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder}: is not a folder; name a new one")
    elif folder.exists() and any(path.name[0] != "." for path in folder.iterdir()):
        raise InvalidInput(f"{folder}: is not empty and was not made by prepare; name a new folder")
    elif around := [place for place in folder.resolve().parents if (place / INDEX).exists()]:
        raise InvalidInput(f"{folder}: lies in {around[0]}, which prepare made; name a folder elsewhere")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(_json({"format": FORMAT, "settings": asdict(settings)}), folder / INDEX)
    (folder / CLIPS).mkdir(exist_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from preparing the same folder.

    Raises:
        InvalidInput: one does.
    """
    with (folder / INDEX).open("rb") as index:
        try:
            fcntl.flock(index, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InvalidInput(f"{folder}: another process prepares it now; wait for it, or end it") from None
        yield


def clear(folder: Path) -> None:
    """Remove what a killed run left half-written. Raises OSError."""
    for left_over in (folder / CLIPS).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left_over)


def remove_clip(place: Path) -> None:
    """Remove a clip's folder, at once. Raises OSError."""
    unfinished = place.with_name(f"{_UNFINISHED}{place.name}")
    os.rename(place, unfinished)
    shutil.rmtree(unfinished)


def write_clip(clip: PreparedClip | LeftOut, pictures: Sequence[Pixels] = ()) -> None:
    """Write a clip's folder, at once.

    Args:
        clip: what is known of it; its folder does not exist yet, the parent does.
        pictures: uint8 (H, W, 3), BGR, one for each of its times.
    Raises:
        SourceError: a picture cannot be written as PNG.
        OSError: it cannot be written; names the folder.
    """
    place = clip.folder
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=place.parent))
    try:
        for number, pixels in enumerate(pictures):
            written, data = cv2.imencode(".png", pixels)
            if not written:
                raise SourceError(f"{place}: a picture of {pixels.shape} cannot be written as PNG")
            (unfinished / picture_name(number)).write_bytes(data.tobytes())
        (unfinished / RECORD).write_bytes(_json(record_of(clip)))
        # mkdtemp makes it the owner's alone.
        unfinished.chmod(place.parent.stat().st_mode & 0o777)
        os.rename(unfinished, place)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if isinstance(error, OSError) and error.filename is None:
            # A full disk is not said with the file.
            raise OSError(error.errno, error.strerror, str(place)) from None
        raise


def _check_same(folder: Path, found: Settings, wanted: Settings) -> None:
    before, now = asdict(found), asdict(wanted)
    differing = [f"{name} {before[name]} (now {now[name]})" for name in before if before[name] != now[name]]
    if differing:
        raise InvalidInput(
            f"{folder}: was prepared with other settings: {', '.join(differing)}; "
            "give the same, or prepare into a new folder"
        )


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode("ascii")
