"""A folder of pictures that are the frames of a video."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from deepfake_edge.containers import IMAGE_SUFFIXES
from deepfake_edge.data import Frame
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.pictures import MAX_PIXELS, read_picture

_NAMED_FAILURES = 3


class ImageFolder:
    """The pictures of a folder, in natural order (frame2 before frame10), at a steady rate.

    Frame i is the i-th picture, at i / fps seconds. One that cannot be read leaves its place empty and makes the
    source incomplete; the rest goes on. Pictures may differ in size. Hidden files, other files and folders
    within it are left alone.
    """

    is_still = False

    def __init__(self, path: str | os.PathLike[str], fps: float, *, max_pixels: int = MAX_PIXELS) -> None:
        """List the folder.

        Args:
            path: the folder.
            fps: pictures a second, above 0 and at most 1000.
            max_pixels: a picture of more counts as unreadable.
        Raises:
            SourceError: it is no folder, or there is no picture in it.
        """
        if not math.isfinite(fps) or not 0.0 < fps <= 1000.0:
            raise InvalidInput(f"fps: wanted a number above 0, at most 1000, got {fps!r}")
        if max_pixels < 1:
            raise InvalidInput(f"max_pixels: wanted at least 1, got {max_pixels}")
        self._path = Path(path)
        self._fps = fps
        self._max_pixels = max_pixels
        self._files = _pictures(self._path)
        self._reason: str | None = "its end was not reached"
        self.frame_count: int | None = len(self._files)

    def __enter__(self) -> ImageFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def complete(self) -> bool:
        """Whether every picture was read whole; False until `frames` has ended."""
        return self._reason is None

    @property
    def incomplete_reason(self) -> str | None:
        """How many pictures failed and the first of them by name; None when none did."""
        return self._reason

    def frames(self) -> Iterator[Frame]:
        """Yield BGR frames.

        Raises:
            SourceError: not one of the pictures can be read.
        """
        failures: list[str] = []
        unreadable = 0
        for index, file in enumerate(self._files):
            try:
                picture = read_picture(file, self._max_pixels)
            except SourceError as error:
                unreadable += 1
                failures.append(str(error).removeprefix(f"{self._path}{os.sep}"))
                continue
            if picture.missing is not None:
                failures.append(f"{file.name}: {picture.missing}")
            yield Frame(index, index / self._fps, picture.pixels)
        if unreadable == len(self._files):
            raise SourceError(f"{self._path}: none of its {unreadable} pictures can be read ({failures[0]})")
        self._reason = _summary(failures, len(self._files))


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key under which numbers within names count as numbers; the plain name breaks ties (1.png, 01.png)."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name.lower())
    return [(0, int(part), "") if part[0].isascii() and part.isdigit() else (1, 0, part) for part in parts], name


def _pictures(folder: Path) -> list[Path]:
    try:
        if not folder.is_dir():
            raise SourceError(f"{folder}: {'is not a folder' if folder.exists() else 'does not exist'}")
        named = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.name[0] != "."]
        files = [file for file in named if file.is_file()]
    except (OSError, ValueError) as error:
        raise SourceError(f"{folder}: cannot be read ({error})") from None
    if not files:
        raise SourceError(f"{folder}: no picture in it; wanted {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(files, key=lambda file: natural_key(file.name))


def _summary(failures: list[str], pictures: int) -> str | None:
    if not failures:
        return None
    named = "; ".join(failures[:_NAMED_FAILURES])
    more = f"; and {len(failures) - _NAMED_FAILURES} more" if len(failures) > _NAMED_FAILURES else ""
    return f"{len(failures)} of {pictures} pictures could not be read whole: {named}{more}"
