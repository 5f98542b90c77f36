"""Follows something that does not wait, and keeps only the newest frame of it.

A thread reads as fast as frames come and leaves each in a box for one. Whoever computes more slowly than that
sees the newest; the others are counted. So the delay is bounded by one frame's work, and so is memory.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from deepfake_edge.data import Frame, Pixels
from deepfake_edge.errors import InvalidInput, SourceError

_BACKOFF_FIRST_S = 0.25
_BACKOFF_LIMIT_S = 5.0
# A player that cannot keep up lets its clock stand still rather than fall behind without bound.
_PLAYER_LAG_LIMIT_S = 0.5
_log = logging.getLogger(__name__)


class Capture(Protocol):
    """An open camera, stream or file. Only the thread that opened it calls it."""

    @property
    def recorded_s(self) -> float | None:
        """The media's own time of the frame that was read last; None where what counts is its arrival."""
        ...

    def read(self) -> Pixels | None:
        """Return the next frame, uint8 (H, W, 3) BGR, never written to again; None when there is none."""
        ...

    def missing(self, frames: int) -> str | None:
        """What a recording lacks when it ends after so many frames; None where it is whole."""
        ...

    def close(self) -> None: ...


Opener: TypeAlias = Callable[[], Capture | None]
"""Returns None when it cannot be opened now; raises SourceError when there is no use in trying again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what.

    Attributes:
        open_s: for a source to answer.
        read_s: for the next frame, before the connection counts as lost.
        outage_s: for a lost source to come back, before the stream ends; 0 never tries again.
    """

    open_s: float = 8.0
    read_s: float = 4.0
    outage_s: float = 30.0

    def __post_init__(self) -> None:
        for name, seconds, least in (
            ("open_s", self.open_s, 0.1),
            ("read_s", self.read_s, 0.1),
            ("outage_s", self.outage_s, 0),
        ):
            if not least <= seconds <= 1e6:
                raise InvalidInput(f"{name}: wanted a number of seconds from {least} to 1e6, got {seconds!r}")


class Mailbox:
    """Room for one frame between two threads; a newer one takes the place of one that nobody has taken.

    The lock is reentrant, so that a signal handler may close it in the midst of `take`.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.RLock())
        self._frame: Frame | None = None
        self.ended = False
        self.closed = False
        self.dropped = 0

    def put(self, frame: Frame) -> None:
        """Leave a frame."""
        with self._changed:
            self.dropped += self._frame is not None
            self._frame = frame
            self._changed.notify_all()

    def end(self) -> None:
        """Say that no more will come; what is there may still be taken."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Say that nobody will take any more."""
        with self._changed:
            self.closed = True
            self._frame = None
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Frame | None:
        """Wait for a frame; None when it ended, was closed, or time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self.ended or self.closed, timeout_s)
            frame, self._frame = self._frame, None
            return frame

    def closed_within(self, seconds: float) -> bool:
        """Sleep, but wake when it is closed; returns whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.closed, max(seconds, 0.0))


class Reader(threading.Thread):
    """Opens, reads, reopens. No other thread touches the capture, so none is freed while a call is inside it.

    A daemon: a call that hangs in a driver must not keep the process alive.

    Attributes:
        start_s: when the first frame came, on the monotonic clock; for a recording, when its time was 0.
        losses: how often the source broke off.
        reconnects: how often it came back.
        error: why nothing can be read of it; None where something was.
        shortfall: what is missing of it; None where nothing is, or nobody knows yet.
        finished: whether a recording was read to its end.
    """

    def __init__(self, opener: Opener, name: str, patience: Patience, mailbox: Mailbox) -> None:
        """Prepare; `start` starts it.

        Args:
            opener: called in this thread, and again each time the source is lost.
            name: of the source, fit for messages: without credentials.
            patience: how long a lost source is looked for.
            mailbox: where frames go, and what ends the thread when it is closed.
        """
        super().__init__(name=name, daemon=True)
        self._opener = opener
        self._patience = patience
        self._mailbox = mailbox
        self._count = 0
        self.start_s: float | None = None
        self.losses = 0
        self.reconnects = 0
        self.error: str | None = None
        self.shortfall: str | None = None
        self.finished = False

    def run(self) -> None:
        """Read until it ends, is closed, or is lost for good."""
        try:
            self._read_on()
        except SourceError as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001
            # A driver may raise anything, and a thread that ends without a word looks like a source that did. The
            # text may hold the address, so only its kind is told.
            _log.warning("%s: reading from it raised %s", self.name, type(error).__name__)
            why = f"reading from it failed ({type(error).__name__})"
            if self._count:
                self.shortfall = why
            else:
                self.error = why
        finally:
            self._mailbox.end()

    def _read_on(self) -> None:
        attempt, lost_s = 0, 0.0
        while not self._mailbox.closed:
            before = self._count
            opened = self._read_once()
            if self._mailbox.closed or self.finished:
                return
            if self._count == 0:
                raise SourceError("opened, but gave no frame" if opened else "cannot be opened")
            if self._count > before:
                attempt, lost_s = 0, time.monotonic()
                self.losses += 1
                _log.warning("%s: broke off; looking for it for %g s", self.name, self._patience.outage_s)
            if time.monotonic() - lost_s >= self._patience.outage_s:
                self.shortfall = f"broke off and did not come back within {self._patience.outage_s:g} s"
                return
            pause_s = min(_BACKOFF_FIRST_S * 2**attempt, _BACKOFF_LIMIT_S)
            attempt = min(attempt + 1, 10)
            # Jitter, so that many readers of one server that restarts do not come back all at once.
            if self._mailbox.closed_within(pause_s * random.uniform(0.5, 1.0)):  # noqa: S311
                return

    def _read_once(self) -> bool:
        """Read one connection until it breaks off; returns whether it could be opened."""
        capture = self._opener()
        if capture is None:
            return False
        try:
            while not self._mailbox.closed:
                pixels = capture.read()
                if pixels is None:
                    break
                recorded_s = capture.recorded_s
                time_s = self._arrived() if recorded_s is None else self._played(recorded_s)
                self._hand_out(Frame(self._count, time_s, pixels))
            else:
                return True
            if self._count and capture.recorded_s is not None:
                self.finished, self.shortfall = True, capture.missing(self._count)
        finally:
            capture.close()
        return True

    def _hand_out(self, frame: Frame) -> None:
        if self.reconnects < self.losses:
            self.reconnects = self.losses
            _log.warning("%s: is back", self.name)
        self._mailbox.put(frame)
        self._count += 1

    def _arrived(self) -> float:
        now_s = time.monotonic()
        self.start_s = now_s if self.start_s is None else self.start_s
        return now_s - self.start_s

    def _played(self, recorded_s: float) -> float:
        """Wait until a recording's frame is due."""
        now_s = time.monotonic()
        self.start_s = now_s - recorded_s if self.start_s is None else self.start_s
        early_s = self.start_s + recorded_s - now_s
        if early_s < -_PLAYER_LAG_LIMIT_S:
            self.start_s -= early_s
        self._mailbox.closed_within(early_s)
        return recorded_s
