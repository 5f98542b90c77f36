"""A single still picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from deepfake_edge.data import Frame
from deepfake_edge.errors import InvalidInput
from deepfake_edge.pictures import MAX_PIXELS, read_picture


class ImageFile:
    """One JPEG, PNG, WebP, BMP or TIFF picture as one BGR frame at 0 s, turned upright by its EXIF orientation.

    A JPEG without its end mark is yielded as far as it goes (the rest is grey), with `complete` False: a face in
    the part that is there is evidence, and whoever reads the verdict must know what it rests on. Other formats
    that were cut short cannot be decoded and raise. Of several pictures in one file (animated WebP and PNG, pages of
    a TIFF) the first is read, with `complete` False.
    """

    is_still = True
    frame_count: int | None = 1

    def __init__(self, path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> None:
        """Name the file; it is read by `frames`.

        Args:
            path: a regular file.
            max_pixels: a picture of more is refused before it is decoded.
        """
        if max_pixels < 1:
            raise InvalidInput(f"max_pixels: wanted at least 1, got {max_pixels}")
        self._path = Path(path)
        self._max_pixels = max_pixels
        self._reason: str | None = "it was not read"

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def complete(self) -> bool:
        """Whether the whole picture was there, and no other; False until `frames` was read."""
        return self._reason is None

    @property
    def incomplete_reason(self) -> str | None:
        """What is missing; None when nothing is."""
        return self._reason

    def frames(self) -> Iterator[Frame]:
        """Yield the one frame.

        Raises:
            SourceError: it is no picture, too large, or cannot be decoded.
        """
        picture = read_picture(self._path, self._max_pixels)
        self._reason = picture.missing
        yield Frame(0, 0.0, picture.pixels)
