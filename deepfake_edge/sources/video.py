"""A video file, decoded by OpenCV's FFmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from deepfake_edge.containers import Account, Promise, check_name, read_promise, refusal
from deepfake_edge.data import Frame
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.optional import require

# FFmpeg reports every damaged macroblock of a damaged file; the source's own one line says what was lost. Read
# when OpenCV opens its first file, so that a value of the user's own wins.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2 = require("cv2")

_TIMEOUT_MS = 5000
_PICTURE_NAMES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm", ".jp2", ".tga")


class VideoFile:
    """Frames of one regular file, with the container's own timestamps and its rotation applied.

    Every frame is an array of its own, which the source never writes to again.

    `complete` is False when the file is cut short, when frames that an MP4 or QuickTime file counts could not be
    decoded, or when the pictures of another container end more than a second and a tenth before its stated
    duration. It cannot see: a frame that FFmpeg patched up from its neighbours (it says so nowhere that OpenCV
    passes on); frames lost in the middle of a container that counts none (Matroska, WebM, MPEG-TS: a gap is also
    what a variable frame rate looks like); the missing end of an MPEG-TS file (its duration is where it ends).
    """

    is_still = False

    def __init__(self, path: str | os.PathLike[str], *, max_pixels: int = 50_000_000) -> None:
        """Name the file; it is opened by `with`.

        Args:
            path: a regular file. URLs, playlists, devices and FFmpeg's own prefixes are refused.
            max_pixels: frames of more are refused before the first is decoded (but WebM and raw streams have
                to be decoded to be opened).
        Raises:
            SourceError: there is no such file, or it is not a video by its first bytes.
        """
        if max_pixels < 1:
            raise InvalidInput(f"max_pixels: wanted at least 1, got {max_pixels}")
        if "://" in os.fspath(path):
            # The text may hold a password, so it is not repeated.
            raise SourceError("video: wanted a file, got a URL; live sources: deepfake-edge watch")
        self._path = Path(os.path.abspath(path))
        self._max_pixels = max_pixels
        self._check_file()
        self._capture: Any = None
        self._promise = Promise()
        self._account = Account(self._promise)
        self._reason: str | None = "its end was not reached"
        self.frame_count: int | None = None

    def __enter__(self) -> VideoFile:
        try:
            self._promise = read_promise(self._path)
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be read ({error.strerror})") from None
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    @property
    def complete(self) -> bool:
        """Whether every promised frame was read; False until `frames` has ended."""
        return self._reason is None

    @property
    def incomplete_reason(self) -> str | None:
        """What is missing, with numbers; None when nothing is."""
        return self._reason

    def frames(self) -> Iterator[Frame]:
        """Yield BGR frames; closing the generator early releases the file.

        Raises:
            SourceError: no frame can be decoded, or one is larger than `max_pixels`.
            InvalidInput: called outside of `with`, or twice.
        """
        if self._capture is None:
            raise InvalidInput("frames: wanted one call, inside `with`")
        read = 0
        try:
            while self._capture is not None and self._capture.grab():
                decoded, pixels = self._capture.retrieve()
                if not decoded:
                    continue
                self._check_size(pixels.shape[1], pixels.shape[0])
                yield Frame(read, self._account.add(self._capture.get(cv2.CAP_PROP_POS_MSEC)), pixels)
                read += 1
            if self._capture is not None:
                self._reason = self._account.missing()
        finally:
            self._release()
        if read == 0:
            raise SourceError(f"{self._path}: no frame of it could be decoded; the file is damaged")

    def _check_file(self) -> None:
        try:
            if not self._path.is_file():
                what = "is not a regular file" if self._path.exists() else "does not exist"
                raise SourceError(f"{self._path}: {what}")
            check_name(self._path)
            why = refusal(self._path)
        except (OSError, ValueError) as error:
            raise SourceError(f"{self._path}: cannot be read ({error})") from None
        if why is None and "%" in self._path.name and self._path.suffix.lower() in _PICTURE_NAMES:
            why = "is named like a sequence of pictures, which FFmpeg would open in its place"
        if why is not None:
            raise SourceError(f"{self._path}: {why}")

    def _open(self) -> None:
        if cv2.CAP_FFMPEG not in cv2.videoio_registry.getBackends():
            raise MissingDependency("OpenCV was built without FFmpeg. Try: pip install --force-reinstall opencv-python")
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
        self._capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG, limits)
        try:
            if not self._capture.isOpened():
                raise SourceError(
                    f"{self._path}: not a video that FFmpeg can open "
                    "(no video stream in it, an unknown format, or its index is missing)"
                )
            self._check_size(*(self._capture.get(key) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)))
        except SourceError:
            self._release()
            raise
        fps, count = (self._capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self._account = Account(self._promise, fps, count)
        self.frame_count = self._account.frame_count

    def _check_size(self, width: float, height: float) -> None:
        if width * height > self._max_pixels:
            raise SourceError(
                f"{self._path}: frames of {width:.0f}x{height:.0f} are more than the {self._max_pixels} pixels allowed"
            )

    def _release(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None
