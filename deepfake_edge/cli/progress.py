"""A progress line on stderr, for people only: nothing is written where stderr is not a terminal."""

from __future__ import annotations

import sys
import time

_APPEARS_AFTER_S = 1.0
_REDRAW_S = 0.1
_BAR = 24


class Progress:
    """One line that redraws itself; appears after a second, and is wiped when it ends."""

    def __init__(self, title: str) -> None:
        """Start; nothing is drawn yet."""
        self._title = title
        self._started = time.monotonic()
        self._drawn_s = 0.0
        self._visible = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def __call__(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` (None: unknown) are through."""
        now = time.monotonic()
        elapsed_s = now - self._started
        if not self._terminal or elapsed_s < _APPEARS_AFTER_S or now - self._drawn_s < _REDRAW_S:
            return
        self._drawn_s = now
        self._visible = True
        rate = done / elapsed_s
        if total:
            share = min(done / total, 1.0)
            filled = round(share * _BAR)
            left_s = (total - done) / rate if rate and total > done else 0.0
            text = f"[{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%}  {rate:.1f}/s  {left_s:.0f} s left"
        else:
            text = f"{done} frames  {rate:.1f}/s"
        sys.stderr.write(f"\r\x1b[K{self._title}  {text}")
        sys.stderr.flush()

    def end(self) -> None:
        """Wipe the line."""
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
