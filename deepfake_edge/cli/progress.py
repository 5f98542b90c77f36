"""A progress line on stderr, for people only: nothing is written where stderr is not a terminal."""

from __future__ import annotations

import logging
import sys
import time

_APPEARS_AFTER_S = 1.0
_REDRAW_S = 0.1
_BAR = 24
_WIPE = "\r\x1b[K"


class Line:
    """One line that redraws itself; appears after a second, makes way for the log, and is wiped when it ends."""

    def __init__(self, title: str) -> None:
        """Start; nothing is drawn yet."""
        self._title = title
        self._started = time.monotonic()
        self._drawn_s = 0.0
        self._visible = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    @property
    def elapsed_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self._started

    @property
    def due(self) -> bool:
        """Whether `show` would draw now: on a terminal, after a second, and ten times a second at most."""
        appeared = self._terminal and self.elapsed_s >= _APPEARS_AFTER_S
        return appeared and time.monotonic() - self._drawn_s >= _REDRAW_S

    def show(self, text: str) -> None:
        """Draw the title and a text, where it is due."""
        if not self.due:
            return
        self._drawn_s = time.monotonic()
        if not self._visible:
            self._visible = True
            for handler in logging.getLogger().handlers:
                handler.addFilter(self._make_way)
        sys.stderr.write(f"{_WIPE}{self._title}  {text}")
        sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        if self._visible:
            self._visible = False
            for handler in logging.getLogger().handlers:
                handler.removeFilter(self._make_way)
            sys.stderr.write(_WIPE)
            sys.stderr.flush()

    def _make_way(self, _: logging.LogRecord) -> bool:
        sys.stderr.write(_WIPE)
        return True


class Progress(Line):
    """How many of a number of things are through, on such a line."""

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` (None: unknown) are through."""
        if not self.due:
            return
        rate = done / self.elapsed_s
        if total:
            share = min(done / total, 1.0)
            left_s = (total - done) / rate if rate and total > done else 0.0
            self.show(f"{bar(share)}  {rate:.1f}/s  {left_s:.0f} s left")
        else:
            self.show(f"{done} frames  {rate:.1f}/s")


def bar(share: float) -> str:
    """A share, 0..1, as a bar and in percent."""
    filled = round(share * _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%}"
