"""A video with everything drawn on it that is known of each frame.

`.mp4` is H.264 where this OpenCV can encode it, and otherwise MPEG-4 Part 2: the wheels from PyPI have no H.264
encoder. VLC, mpv and QuickTime play both; browsers only the first. `.webm` (VP8) plays in browsers and takes
about eight times as long to encode. `.avi` is Motion JPEG.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from deepfake_edge.containers import check_name
from deepfake_edge.data import Moment, Pixels
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.optional import require
from deepfake_edge.overlay import Overlay
from deepfake_edge.verdict import MIN_SPAN_S

# FFmpeg reports each encoder that it tries in vain. Read once, so a value of the user's own wins.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2 = require("cv2")

CODECS = {".mp4": ("avc1", "mp4v"), ".webm": ("VP80",), ".avi": ("MJPG",)}
# A hole in the timestamps is filled with the picture before it, up to this; beyond, it is cut.
MAX_HOLD_S = 60.0
_MAX_TAKEN_FPS = 60.0
_LONE_PICTURE_FPS = 25.0
_TRIAL_PX = 64


class AnnotatedVideo:
    """Writes a video at a constant rate; a `Viewer` and a context manager.

    It appears under its name when it is closed, and only then: until then, and after an error, there is what
    was there before.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        threshold: float,
        fps: float | None = None,
        *,
        min_span_s: float = MIN_SPAN_S,
    ) -> None:
        """Check that it can be written, before anybody computes anything.

        Args:
            path: ends in one of CODECS.
            threshold: a score at or above it is fake.
            fps: pictures a second of the result, whatever the rate that moments come at; None takes the rate of
                the first two.
            min_span_s: see `overlay.Overlay`.
        Raises:
            InvalidInput: the suffix or the rate is not one that can be written.
            SourceError: the folder is absent or not writable, or the name is not UTF-8.
            MissingDependency: this OpenCV has no encoder for it.
        """
        self._path = Path(path)
        if fps is not None and not 0.1 <= fps <= 240.0:
            raise InvalidInput(f"fps: wanted from 0.1 to 240 pictures a second, got {fps!r}")
        if self._path.suffix.lower() not in CODECS:
            raise InvalidInput(f"{self._path}: wanted a name that ends in {', '.join(CODECS)}")
        if self._path.is_dir():
            raise SourceError(f"{self._path}: is a folder")
        check_name(self._path)
        self._fps = fps
        self._overlay = Overlay(threshold, min_span_s)
        self._writer: Any = None
        self._part: Path | None = _beside(self._path)
        try:
            self._codec = _first_that_works(self._part)
        except BaseException:
            self.abort()
            raise
        self._size = (0, 0)
        self._first_s = 0.0
        self._pending: Pixels | None = None
        self._written = 0

    def show(self, moment: Moment) -> None:
        """Add a frame; called in time order.

        Raises:
            InvalidInput: it is closed, or the frame is not what its format says.
            SourceError: the encoder does not start.
        """
        if self._part is None:
            raise InvalidInput(f"{self._path}: is closed")
        picture, time_s = self._overlay.draw(moment), moment.frame.time_s
        if self._pending is None:
            height, width = picture.shape[:2]
            # Encoders want even sides.
            self._size = (width + width % 2, height + height % 2)
            self._first_s = time_s
        elif self._fps is None and time_s > self._first_s:
            self._fps = round(min(max(1.0 / (time_s - self._first_s), 1.0), _MAX_TAKEN_FPS), 2)
        if self._fps is not None:
            self._repeat_until(self._slot(time_s, self._fps))
        self._pending = _letterboxed(picture, self._size)

    def close(self) -> None:
        """Finish the file and give it its name; without a single frame, nothing appears.

        Raises:
            SourceError: it could not be written as a whole, because the disk is full for instance.
        """
        if self._part is None:
            return
        part = self._part
        try:
            if self._pending is not None:
                self._repeat_until(self._written + 1)
                self._writer.release()
                self._writer = None
                _check(part, self._path, self._written)
                _sync(part)
                os.replace(part, self._path)
                _sync(self._path.parent)
        except OSError as error:
            raise SourceError(f"{self._path}: cannot be written ({error.strerror})") from None
        finally:
            self.abort()

    def abort(self) -> None:
        """Give up: what was there before stays."""
        part, self._part = self._part, None
        if part is None:
            return
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        part.unlink(missing_ok=True)

    def __enter__(self) -> AnnotatedVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _slot(self, time_s: float, fps: float) -> int:
        slot = round((time_s - self._first_s) * fps)
        hole = slot - self._written - MAX_HOLD_S * fps
        if hole > 0:
            self._first_s += hole / fps
            slot = round((time_s - self._first_s) * fps)
        return slot

    def _open(self) -> None:
        fps = _LONE_PICTURE_FPS if self._fps is None else self._fps
        self._writer = cv2.VideoWriter(
            str(self._part), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*self._codec), fps, self._size
        )
        if not self._writer.isOpened():
            raise SourceError(f"{self._path}: {self._codec} cannot be encoded at {self._size[0]}x{self._size[1]}")

    def _repeat_until(self, slot: int) -> None:
        while self._pending is not None and self._written < slot:
            if self._writer is None:
                self._open()
            self._writer.write(self._pending)
            self._written += 1


def _beside(path: Path) -> Path:
    """Make the empty file that is written to; its name is known before it exists, so that an interrupt leaves none."""
    part = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        with part.open("xb"):
            return part
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({error.strerror})") from None
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _first_that_works(part: Path) -> str:
    codecs = CODECS[part.suffix.lower()]
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        codec = next((codec for codec in codecs if _works(codec, part)), None)
    finally:
        cv2.utils.logging.setLogLevel(level)
    if codec is None:
        raise MissingDependency(
            f"this OpenCV cannot encode {part.suffix} ({', '.join(codecs)}). Try: pip install opencv-python, or "
            f"another of {', '.join(CODECS)}"
        )
    return codec


def _works(codec: str, part: Path) -> bool:
    writer = cv2.VideoWriter(str(part), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), 25.0, (_TRIAL_PX, _TRIAL_PX))
    works = bool(writer.isOpened())
    if works:
        writer.write(np.zeros((_TRIAL_PX, _TRIAL_PX, 3), np.uint8))
    writer.release()
    return works and part.exists() and part.stat().st_size > 0


def _check(part: Path, path: Path, frames: int) -> None:
    """OpenCV's writer reports nothing, not even a full disk; a file that cannot be read back tells."""
    capture = cv2.VideoCapture(str(part), cv2.CAP_FFMPEG)
    found = round(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    whole = capture.isOpened() and capture.grab()
    capture.release()
    # WebM has no count, only a duration, which may be a frame off.
    if not whole or abs(found - frames) > 1:
        raise SourceError(f"{path}: {found} of {frames} frames arrived in it; is the disk full?")


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _letterboxed(picture: Pixels, size: tuple[int, int]) -> Pixels:
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if 1.0 <= scale < 1.0 + 2.0 / max(size):
        scale = 1.0
    inner = (min(max(round(picture.shape[1] * scale), 1), width), min(max(round(picture.shape[0] * scale), 1), height))
    if inner != (picture.shape[1], picture.shape[0]):
        picture = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR)
    canvas: Pixels = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = picture
    return canvas
