"""Which source and which face finder are taken: with `runtime_choice` the only file that names adapters.

Every choice is made aloud: its name and its reason go into the log and into every result.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from deepfake_edge.containers import IMAGE_SUFFIXES
from deepfake_edge.data import Choice
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.protocols import FaceFinder, Source
from deepfake_edge.urls import is_url, redact

if TYPE_CHECKING:
    from deepfake_edge.sources.live import LiveSource

FINDERS = ("whole", "haar", "yunet", "insightface", "mtcnn")

PathLike: TypeAlias = str | os.PathLike[str]
FinderFactory: TypeAlias = Callable[[], FaceFinder]


def open_source(path: PathLike, folder_fps: float) -> Source:
    """A file or folder as a source, by what it is.

    Raises:
        SourceError: it does not exist, or is a URL.
    """
    place = Path(path)
    # os.path says no to what cannot be a path at all (too long, a zero byte); pathlib raises.
    exists = os.path.exists(path)
    if not exists and is_url(str(path)):
        raise SourceError(f"{redact(str(path))}: is a live source; use Detector.stream or: deepfake-edge watch")
    if not exists or not os.fspath(path):
        raise SourceError(f"{place}: does not exist")
    if place.is_dir():
        from deepfake_edge.sources.folder import ImageFolder

        return ImageFolder(place, folder_fps)
    if place.suffix.lower() in IMAGE_SUFFIXES:
        from deepfake_edge.sources.image import ImageFile

        return ImageFile(place)
    from deepfake_edge.sources.video import VideoFile

    return VideoFile(place)


def open_live(source: str | int) -> LiveSource:
    """A camera, URL, GStreamer pipeline, or file played in real time.

    Raises:
        SourceError: it is none of these.
        MissingDependency: this OpenCV cannot read it.
    """
    from deepfake_edge.sources.live import LiveSource

    return LiveSource(source)


def choose_finder(argument: str) -> tuple[Choice, FinderFactory]:
    """What finds faces: `auto`, or a name of FINDERS with, after a colon, a model file or pack.

    Raises:
        InvalidInput: there is no such finder, or it takes no model.
        MissingDependency: it, or its model, is not installed.
    """
    if argument == "auto":
        return _best_finder()
    name, _, model = argument.partition(":")
    if name not in FINDERS:
        raise InvalidInput(f"faces: wanted auto or one of {', '.join(FINDERS)}, got {name!r}")
    if model and name not in ("yunet", "insightface"):
        raise InvalidInput(f"faces: {name} takes no model, got {model!r}")
    return Choice(name, f"named, {model}" if model else "named"), _finder(name, model or None)


def _best_finder() -> tuple[Choice, FinderFactory]:
    from deepfake_edge.faces import yunet

    if yunet.find_model() is not None:
        return Choice("yunet", "auto: its model is in the cache"), _finder("yunet", None)
    if _insightface_is_here():
        reason = "auto: a pack is on this machine, YuNet's model is not; packs are for non-commercial research only"
        return Choice("insightface", reason), _finder("insightface", None)
    reason = f"auto: YuNet's model, which misses far fewer faces, is not at {yunet.default_path()}"
    return Choice("haar", reason), _finder("haar", None)


def _insightface_is_here() -> bool:
    from deepfake_edge.faces.scrfd import DEFAULT_PACK, find_detector

    try:
        find_detector(DEFAULT_PACK)
    except MissingDependency:
        return False
    return importlib.util.find_spec("insightface") is not None


def _finder(name: str, model: str | None) -> FinderFactory:
    """Adapters are imported here, one at a time, so that nobody pays for a finder that was not asked for."""

    def make() -> FaceFinder:
        if name == "whole":
            from deepfake_edge.faces.whole import Whole

            return Whole()
        if name == "haar":
            from deepfake_edge.faces.haar import Haar

            return Haar()
        if name == "yunet":
            from deepfake_edge.faces.yunet import YuNet

            return YuNet(Path(model) if model else None)
        if name == "insightface":
            from deepfake_edge.faces.scrfd import Scrfd

            return Scrfd(model) if model else Scrfd()
        from deepfake_edge.faces.cascade import Mtcnn

        return Mtcnn()

    return make
