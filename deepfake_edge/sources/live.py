"""Cameras, streams, GStreamer pipelines, and files played in real time. The latest frame wins.

RTSP goes over TCP where the server can: that is OpenCV's own default. The environment variable
OPENCV_FFMPEG_CAPTURE_OPTIONS, e.g. `rtsp_transport;udp`, changes it, for the whole process.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from deepfake_edge.containers import Account, check_name, read_promise, refusal
from deepfake_edge.data import Frame, Pixels
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.feed import Capture, Mailbox, Opener, Patience, Reader
from deepfake_edge.optional import require
from deepfake_edge.urls import check_scheme, is_pipeline, is_url, redact

# FFmpeg reports every damaged packet; what matters of it is counted here. A value of the user's own wins.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
cv2 = require("cv2")

MAX_PIXELS = 50_000_000
_CLOSE_WAIT_S = 2.0
# On top of what the native library was told to keep: a call of it that hangs is noticed this much later.
_GRACE_S = 2.0
_log = logging.getLogger(__name__)


class LiveSource:
    """Frames of something that does not wait. A context manager; `frames` may be called once.

    `time_s` is when a frame arrived, on the monotonic clock, since the first; for a file it is the media's time.
    """

    def __init__(self, source: str | int, *, patience: Patience | None = None, opener: Opener | None = None) -> None:
        """Check what it is; nothing is opened before `frames`.

        Args:
            source: a camera's index, an address (see `urls.SCHEMES`), a GStreamer pipeline that ends in
                `appsink`, or a file.
            patience: None takes the defaults.
            opener: opens something else, which `source` then only names.
        Raises:
            SourceError: it is none of these.
            MissingDependency: it is a pipeline, and this OpenCV was built without GStreamer.
        """
        text = str(source).strip()
        self._name = f"camera {text}" if _is_camera(text) else redact(text)
        self._patience = patience or Patience()
        self._mailbox = Mailbox()
        self._reader = Reader(opener or _opener(text, self._patience), self._name, self._patience, self._mailbox)
        # Also runs when the source is dropped without close(), and before the interpreter goes.
        self._finish = weakref.finalize(self, _end, self._mailbox, self._reader)
        self._is_file = opener is None and _is_file(text)
        self._hint = "" if opener else _hint(text)
        self._begun = False
        self._taken_s: float | None = None

    def __repr__(self) -> str:
        return f"LiveSource({self._name!r})"

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame, each at most once, until the source ends or is closed.

        Raises:
            SourceError: it cannot be opened, gives no frame, or gives frames beyond MAX_PIXELS.
            InvalidInput: called a second time.
        """
        if self._begun:
            raise InvalidInput(f"{self._name}: its frames are read once; open it again")
        self._begun = True
        if not self._mailbox.closed:
            self._reader.start()
        try:
            wait_s = self._patience.open_s + self._patience.read_s + _GRACE_S
            while (frame := self._mailbox.take(wait_s)) is not None:
                self._taken_s = frame.time_s
                wait_s = self._patience.read_s + self._patience.outage_s + self._patience.open_s + _GRACE_S
                yield frame
            self._explain_end(wait_s)
        finally:
            self.close()

    def stop(self) -> None:
        """Make `frames` end soon; returns at once. For signal handlers, timers and other threads."""
        self._mailbox.close()

    def close(self) -> None:
        """End and free the source; may be called twice and from any thread. Takes two seconds at most."""
        self._finish()

    @property
    def dropped(self) -> int:
        """Frames that came while others were computed, and were overwritten."""
        return self._mailbox.dropped

    @property
    def reconnects(self) -> int:
        """How often a lost source was found again."""
        return self._reader.reconnects

    @property
    def delay_s(self) -> float:
        """Seconds since the frame that `frames` gave last had arrived; 0 before the first.

        Asked when that frame's result is there, it is the time from arrival to result. What camera, encoder,
        network and decoder took before is not in it.
        """
        start_s = self._reader.start_s
        return 0.0 if self._taken_s is None or start_s is None else time.monotonic() - start_s - self._taken_s

    @property
    def complete(self) -> bool:
        """A file: whether it was read to its end. Anything else promises nothing: whether it never broke off."""
        return self.incomplete_reason is None

    @property
    def incomplete_reason(self) -> str | None:
        """Why `complete` is False."""
        reader = self._reader
        if reader.shortfall is not None or reader.finished:
            return reader.shortfall
        if self._is_file:
            return f"stopped at {self._taken_s or 0.0:.1f} s"
        return f"the source broke off {reader.losses} times" if reader.losses else None

    @property
    def is_still(self) -> bool:
        """Never."""
        return False

    @property
    def frame_count(self) -> int | None:
        """None: it makes no promise."""
        return None

    def __enter__(self) -> LiveSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _explain_end(self, waited_s: float) -> None:
        reader = self._reader
        error = reader.error
        if not self._mailbox.ended and not self._mailbox.closed:
            # A call into the driver or the network's library hangs; its own timeouts did not help.
            reader.shortfall = f"gave nothing for {waited_s:g} s, and reading from it hangs"
            error = reader.shortfall if self._taken_s is None else None
        if error is not None:
            raise SourceError(f"{self._name}: {error}{self._hint if self._taken_s is None else ''}")


class _OpenCvCapture:
    """A `cv2.VideoCapture` as the feed wants it."""

    def __init__(self, capture: Any, file: Path | None) -> None:
        self._capture = capture
        self._account: Account | None = None
        if file is not None:
            fps, count = (capture.get(key) for key in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
            self._account = Account(read_promise(file), fps, count)
        self._recorded_s = 0.0
        self._check_size(capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    @property
    def recorded_s(self) -> float | None:
        return None if self._account is None else self._recorded_s

    def read(self) -> Pixels | None:
        try:
            decoded, pixels = self._next()
        except cv2.error as error:
            # Its text may hold the address; its code does not.
            _log.warning("OpenCV could not read on: error %s", getattr(error, "code", "without a code"))
            return None
        if not decoded or pixels is None or pixels.size == 0:
            return None
        self._check_size(pixels.shape[0] * pixels.shape[1])
        if self._account is not None:
            self._recorded_s = self._account.add(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        taken: Pixels = pixels
        return taken

    def missing(self, frames: int) -> str | None:
        return None if self._account is None else self._account.missing()

    def close(self) -> None:
        self._capture.release()

    def _next(self) -> tuple[bool, Pixels | None]:
        decoded, pixels = self._capture.read()
        # A file goes on behind a frame that cannot be decoded.
        while not decoded and self._account is not None and self._capture.grab():
            decoded, pixels = self._capture.retrieve()
        return decoded, pixels

    def _check_size(self, pixels: float) -> None:
        if pixels > MAX_PIXELS:
            self.close()
            raise SourceError(f"its frames of {pixels:.0f} pixels are more than the {MAX_PIXELS} allowed")


def _end(mailbox: Mailbox, reader: Reader) -> None:
    mailbox.close()
    if reader.ident is None or reader is threading.current_thread():
        return
    reader.join(_CLOSE_WAIT_S)
    if reader.is_alive():
        _log.warning("%s: a call into it does not return; its thread is left behind", reader.name)


def _is_file(text: str) -> bool:
    return not _is_camera(text) and not is_pipeline(text) and os.path.isfile(text)


def _is_camera(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _hint(text: str) -> str:
    if _is_camera(text):
        return ". Is it plugged in, not in use elsewhere, and may this user read it? On Linux: ls -l /dev/video*"
    if is_pipeline(text):
        return ". Does it end in appsink, and does gst-launch-1.0 run it?"
    return "" if _is_file(text) else ". Is it up, and are its path, user and password right?"


def _opener(text: str, patience: Patience) -> Opener:
    if _is_camera(text):
        return partial(_open, int(text), cv2.CAP_ANY, (), None)
    check_name(text, redact(text))
    if is_pipeline(text):
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            raise MissingDependency(
                "this OpenCV was built without GStreamer, as those from PyPI are; JetPack's own has it. "
                "Or give an rtsp:// address or a camera's index"
            )
        return partial(_open, text, cv2.CAP_GSTREAMER, (), None)
    limits = (
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(patience.open_s * 1000),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(patience.read_s * 1000),
    )
    if _is_file(text):
        # An absolute path cannot be taken for a protocol.
        path = Path(os.path.abspath(text))
        check_name(path)
        try:
            why = refusal(path)
        except OSError as error:
            raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
        if why is not None:
            raise SourceError(f"{path}: {why}")
        return partial(_open, str(path), cv2.CAP_FFMPEG, limits, path)
    if not is_url(text):
        raise SourceError(f"{redact(text)!r}: is no camera's index, address, GStreamer pipeline, or file that exists")
    check_scheme(text)
    # Every further decoder thread holds one frame back: 40 ms at 25 frames a second, and by default it is as many
    # as there are cores. FFmpeg alone: other backends print the address they fail at, password included.
    return partial(_open, text, cv2.CAP_FFMPEG, (*limits, cv2.CAP_PROP_N_THREADS, 1), None)


def _open(source: str | int, backend: int, parameters: tuple[int, ...], file: Path | None) -> Capture | None:
    try:
        capture = cv2.VideoCapture(source, backend, list(parameters))
    except cv2.error:
        return None
    if capture.isOpened():
        return _OpenCvCapture(capture, file)
    capture.release()
    return None
