"""Decoded face pictures, kept in memory while there is room."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from deepfake_edge.data import Pixels
from deepfake_edge.training.feeding.face_window import FaceWindow
from deepfake_edge.training.preparing.prepared import PreparedClip


class PictureCache:
    """Reads face pictures, and keeps the first ones that it reads up to a limit.

    Nothing is dropped: an epoch shows every clip once, so what came last is no likelier to come next. May be used from
    several threads.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._free = limit_bytes
        self._kept: dict[tuple[Path, int], Pixels] = {}
        self._lock = threading.Lock()

    def window(self, clip: PreparedClip, places: Sequence[int]) -> FaceWindow:
        """Some of a clip's face pictures, read only, each read once however often it is named.

        Raises:
            SourceError: one is absent or damaged.
        """
        needed = sorted(set(places))
        found = {place: self._kept[key] for place in needed if (key := (clip.folder, place)) in self._kept}
        absent = [place for place in needed if place not in found]
        for place, pixels in zip(absent, clip.pictures(absent), strict=True):
            pixels.flags.writeable = False
            found[place] = pixels
            self._keep((clip.folder, place), pixels)
        return FaceWindow(
            tuple(found[place] for place in places),
            tuple(clip.boxes[place] for place in places),
            tuple(clip.landmarks[place] for place in places),
        )

    def _keep(self, key: tuple[Path, int], pixels: Pixels) -> None:
        with self._lock:
            if key not in self._kept and pixels.nbytes <= self._free:
                self._kept[key] = pixels
                self._free -= pixels.nbytes
