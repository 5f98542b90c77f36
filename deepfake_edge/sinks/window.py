"""A window that shows each frame with what is known of it."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from deepfake_edge.data import Moment
from deepfake_edge.errors import MissingDependency
from deepfake_edge.optional import require
from deepfake_edge.overlay import Overlay

cv2 = require("cv2")

_TRIAL = "import cv2; cv2.namedWindow('trial', cv2.WINDOW_NORMAL); cv2.waitKey(1); cv2.destroyAllWindows()"
_TRIAL_TIMEOUT_S = 20.0
_MAX_SIDE_PX = 1280
_QUIT_KEYS = (ord("q"), ord("Q"), 27)


@functools.cache
def available() -> bool:
    """Whether a window can be opened here; tried once, in a process of its own.

    Qt, which OpenCV's wheels draw with, ends the whole process when it cannot reach the display, and there is
    no way to ask it beforehand.
    """
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    try:
        trial = subprocess.run(
            [sys.executable, "-c", _TRIAL],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_TRIAL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return trial.returncode == 0


class Window:
    """A window on the display; a `Viewer`. To be used on one thread, which on some systems must be the main one.

    Attributes:
        closed: the user pressed q or Escape, or closed it. Further moments are not shown.
    """

    def __init__(self, title: str, threshold: float) -> None:
        """Check that there is a display; the window opens with the first frame.

        Args:
            title: its title; not a source's address, unless through `urls.redact`.
            threshold: a score at or above it is fake.
        Raises:
            MissingDependency: there is no display, or this OpenCV cannot draw on it.
        """
        if not available():
            raise MissingDependency(
                "no window can be opened: there is no display, or this OpenCV was built without windows "
                "(opencv-python-headless). Try: deepfake-edge watch --no-window"
            )
        self._title = title
        self._overlay = Overlay(threshold)
        self._open = False
        self.closed = False

    def show(self, moment: Moment) -> None:
        """Draw a frame and look after the window's keys."""
        if self.closed:
            return
        picture = self._overlay.draw(moment)
        if not self._open:
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            scale = min(1.0, _MAX_SIDE_PX / max(picture.shape[:2]))
            cv2.resizeWindow(self._title, round(picture.shape[1] * scale), round(picture.shape[0] * scale))
            self._open = True
        cv2.imshow(self._title, picture)
        key = cv2.waitKey(1) & 0xFF
        if key in _QUIT_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self.close()

    def close(self) -> None:
        """Close it; may be called twice."""
        self.closed = True
        if self._open:
            self._open = False
            try:
                cv2.destroyWindow(self._title)
                # The window goes when its events are handled, and nobody will handle them after this.
                cv2.waitKey(1)
            except cv2.error:
                # The user closed it first.
                return
