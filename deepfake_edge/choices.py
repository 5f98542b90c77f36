"""What this machine has, and what is taken of it: the only file that names adapters.

Every choice is made aloud: its name and its reason go into the log and into every result.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from deepfake_edge.bundle import PRECISIONS
from deepfake_edge.containers import IMAGE_SUFFIXES
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.model import NetworkFactory
from deepfake_edge.protocols import FaceFinder, Source
from deepfake_edge.threads import check_threads
from deepfake_edge.urls import is_url, redact

if TYPE_CHECKING:
    from deepfake_edge.sources.live import LiveSource

FINDERS = ("whole", "haar", "yunet", "insightface", "mtcnn")
# In the order in which `auto` takes them.
RUNTIMES = ("openvino", "onnxruntime")

PathLike: TypeAlias = str | os.PathLike[str]
FinderFactory: TypeAlias = Callable[[], FaceFinder]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was taken, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


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


def choose_runtime(name: str, threads: int | None, precision: str | None = None) -> tuple[Choice, NetworkFactory]:
    """What runs the networks.

    Args:
        name: `auto`, or one of RUNTIMES.
        threads: for one call of a network; None takes one a physical core.
        precision: one of PRECISIONS; None: whatever a network's graph says.
    Raises:
        InvalidInput: there is no such runtime or precision, this runtime or CPU does not compute in it, or `threads`
            is out of range.
        MissingDependency: what is needed is not installed.
    """
    if name not in ("auto", *RUNTIMES):
        raise InvalidInput(f"runtime: wanted auto or one of {', '.join(RUNTIMES)}, got {name!r}")
    if precision not in (None, *PRECISIONS):
        raise InvalidInput(f"precision: wanted one of {', '.join(PRECISIONS)}, got {precision!r}")
    if threads is not None:
        check_threads(threads)
    bf16 = precision == "bf16"
    choice = Choice(name, "named") if name != "auto" else _best_runtime(bf16)
    if choice.name == "openvino":
        return choice, _openvino(threads, bf16)
    if bf16:
        raise InvalidInput(f"precision: bf16 is computed by openvino alone, got the runtime {choice.name}")
    return choice, _onnxruntime(threads)


def precisions_of(runtime: str) -> tuple[str, ...]:
    """What one of RUNTIMES computes in on this machine, of PRECISIONS; nothing where it is not installed."""
    try:
        if runtime == "onnxruntime":
            from deepfake_edge.runtimes import ort

            ort.version()
            return tuple(item for item in PRECISIONS if item != "bf16")
        from deepfake_edge.runtimes import openvino

        return tuple(item for item in PRECISIONS if item != "bf16" or openvino.has_bf16())
    except MissingDependency:
        return ()


def _best_runtime(bf16: bool) -> Choice:
    if bf16:
        return Choice("openvino", "auto: bf16 is computed by it alone")
    if precisions_of("openvino"):
        return Choice("openvino", "auto: it is installed")
    return Choice("onnxruntime", "auto: there is no OpenVINO, often faster, on this machine")


def _openvino(threads: int | None, bf16: bool) -> NetworkFactory:
    from deepfake_edge.runtimes.openvino import OpenVinoNetwork, check_bf16

    if bf16:
        check_bf16()

    def network(graph: bytes, title: str) -> OpenVinoNetwork:
        return OpenVinoNetwork(graph, name=title, threads=threads, bf16=bf16)

    return network


def _onnxruntime(threads: int | None) -> NetworkFactory:
    from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork

    def network(graph: bytes, title: str) -> OnnxRuntimeNetwork:
        return OnnxRuntimeNetwork(graph, name=title, threads=threads)

    return network
