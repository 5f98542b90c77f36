"""The class that people use: a bundle at work, files in, verdicts out."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TypeAlias

from deepfake_edge.choices import PathLike, choose_finder, open_live, open_source
from deepfake_edge.data import Frame, Score, Verdict
from deepfake_edge.ensemble import Ensemble, load_ensemble
from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require
from deepfake_edge.pipeline import Pipeline
from deepfake_edge.protocols import FaceFinder, Viewer
from deepfake_edge.recipe import recipe_of
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime
from deepfake_edge.session import Session
from deepfake_edge.spec import ModelSpec
from deepfake_edge.verdict import Ledger

_SESSION_HISTORY = 10_000
_FOLDER_FPS = 25.0
_log = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int | None], None]
"""(frames read, frames promised or None) -> None."""


class Detector:
    """A bundle at work, or several that judge together: files in, verdicts out; a context manager.

    Several threads may call `detect` or hold sessions at once; they share the networks, and nothing else.

    Attributes:
        name: the bundle's, or the members' joined by " + ".
        sha256: the bundle's; of an ensemble, of its members' digests, weights and threshold.
        precision: what the networks compute in; of an ensemble, each of its members' once.
        members: the models at work and their shares of the score; a single model is an ensemble of one.
        threshold: a fake score at or above it is labelled `fake`.
        runtime: what runs the networks, and why.
        finder: what finds the faces, and why.
    """

    def __init__(
        self,
        model: PathLike | Sequence[PathLike],
        *,
        weights: Sequence[float] | None = None,
        faces: str = "auto",
        runtime: str = "auto",
        precision: str | None = None,
        threads: int | None = None,
        device: int = 0,
        crops: str = "cpu",
    ) -> None:
        """Load a bundle, or an ensemble of them.

        Args:
            model: path of a bundle (`.dfe`), made by `deepfake-edge convert`; of an ensemble file (`.json`, see
                `recipe`); or several bundles.
            weights: one for each of several bundles, of any sum; None: all weigh the same.
            faces: `auto`, `whole`, `haar`, `yunet[:FILE]`, `insightface[:PACK or FILE]` or `mtcnn`.
            runtime: `auto`, `tensorrt`, `openvino`, `onnxruntime` or `onnxruntime-cuda`. `auto` takes tensorrt only
                where `deepfake-edge build` has put this device's engines into the cache; it never builds any.
            precision: `fp32`, `fp16` or `int8`, which every bundle must have, or `bf16`: fp32 computed in bfloat16;
                None takes the first each has of fp32, fp16, int8.
            threads: CPU threads for one call of a network, and for OpenCV, which reads this number for the whole
                process; None takes one a physical core for a network, and leaves OpenCV as it is.
            device: which GPU, for the runtimes that need one; 0 is the first.
            crops: `cpu`, or `cuda`: frames go to the GPU and are cut there, with tensorrt alone.
        Raises:
            BundleError: a bundle or ensemble file is absent, damaged or foreign.
            EngineMismatch: `tensorrt` is named, and a bundle has no engine that fits this device.
            InvalidInput: an argument names something that does not exist, or that this machine cannot do.
            MissingDependency: what was named is not installed.
            InferenceError: on this machine a bundle does not say of its golden crops what it said when it was
                converted; `deepfake-edge verify` has the figures.
        """
        options = RuntimeOptions(runtime, precision, threads, device, crops)
        if threads is not None:
            require("cv2").setNumThreads(threads)
        recipe = recipe_of(model, weights)
        self.finder, self._make_finder = choose_finder(faces)
        self._idle_finders: list[FaceFinder] = [self._make_finder()]
        ensemble = load_ensemble(recipe, precision, partial(choose_runtime, options))
        self._ensemble: Ensemble | None = ensemble
        self.members, self.threshold, self.runtime = ensemble.members, ensemble.threshold, ensemble.runtime
        self.name, self.sha256, self.precision = ensemble.name, ensemble.sha256, ensemble.precision
        self._crop_threads = min(threads or os.cpu_count() or 1, 4)
        _log.info("runtime: %s; faces: %s; precision: %s", self.runtime, self.finder, self.precision)

    @property
    def spec(self) -> ModelSpec:
        """What the single model expects; `threshold` is the detector's.

        Raises:
            InvalidInput: there are several; each member's is `members[...].model.spec`.
        """
        if len(self.members) > 1:
            raise InvalidInput(
                f"spec: an ensemble of {len(self.members)} models has none of its own; see threshold, and "
                "members[...].model.spec"
            )
        return replace(self.members[0].model.spec, threshold=self.threshold)

    def detect(
        self,
        source: PathLike,
        *,
        fps: float | None = None,
        viewers: Sequence[Viewer] = (),
        progress: Progress | None = None,
    ) -> Verdict:
        """Read a file to its end and decide.

        Args:
            source: a video, an image, or a folder of images that are one clip's frames.
            fps: frames a second of a folder's images; None takes the model's own sampling rate (of several models'
                the highest), or 25.
            viewers: shown every frame; the caller closes them.
            progress: called after every frame.
        Raises:
            SourceError: nothing in it can be read.
        """
        folder_fps = self._opened().sample_fps or _FOLDER_FPS if fps is None else fps
        timings_ms = {"source": 0.0, "viewers": 0.0}
        started = time.perf_counter()
        with open_source(source, folder_fps) as opened, self._session() as session:
            for count, frame in enumerate(_timed(opened.frames(), timings_ms), start=1):
                moment = session.observe(frame)
                viewed = time.perf_counter()
                for viewer in viewers:
                    viewer.show(moment)
                timings_ms["viewers"] += (time.perf_counter() - viewed) * 1000.0
                if progress is not None:
                    progress(count, opened.frame_count)
            verdict = session.verdict(
                complete=opened.complete, incomplete_reason=opened.incomplete_reason, still=opened.is_still
            )
        timings_ms["total"] = (time.perf_counter() - started) * 1000.0
        return replace(verdict, timings_ms={**verdict.timings_ms, **timings_ms})

    def session(self, *, history: int = _SESSION_HISTORY) -> Session:
        """Start a stream of frames that the caller pushes.

        Args:
            history: scores kept, over all tracks, and tracks kept; older ones still count but are no longer listed, so
                that memory stays bounded however long the session runs. At least 100.
        """
        if history < 100:
            raise InvalidInput(f"history: wanted at least 100, got {history}")
        return self._session(history)

    def stream(self, source: str | int, *, viewers: Sequence[Viewer] = ()) -> Iterator[Score]:
        """Follow a live source; yields scores until it ends or the caller stops.

        Args:
            source: a camera index, an `rtsp://` or other URL, a GStreamer pipeline, or a file, which is played
                in real time. The latest frame wins: frames that come while one is computed are dropped.
            viewers: shown every frame that was not dropped; the caller closes them.
        Raises:
            SourceError: it cannot be opened.
        """
        with open_live(source) as live, self.session() as session:
            for frame in live.frames():
                moment = session.observe(frame)
                for viewer in viewers:
                    viewer.show(moment)
                yield from moment.scores

    def close(self) -> None:
        """Free the networks; sessions that are still open end with an error. May be called twice."""
        if self._ensemble is not None:
            self._ensemble.close()
            self._ensemble = None
        self._idle_finders.clear()

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _opened(self) -> Ensemble:
        if self._ensemble is None:
            raise InvalidInput("detector: it is closed")
        return self._ensemble

    def _session(self, history: int | None = None) -> Session:
        ensemble = self._opened()
        try:
            finder = self._idle_finders.pop()
        except IndexError:
            finder = self._make_finder()
        # `whole` says that the frame is a crop already.
        whole = self.finder.name == "whole"
        return Session(
            Pipeline(ensemble, finder, boxes_are_crops=whole, threads=self._crop_threads),
            Ledger(ensemble.threshold, ensemble.clip, history),
            described=(str(self.runtime), str(self.finder)),
            release=partial(self._idle_finders.append, finder),
        )


def _timed(frames: Iterator[Frame], timings_ms: dict[str, float]) -> Iterator[Frame]:
    """The same frames; the time it takes to get them is added to `timings_ms["source"]`."""
    while True:
        start = time.perf_counter()
        frame = next(frames, None)
        timings_ms["source"] += (time.perf_counter() - start) * 1000.0
        if frame is None:
            return
        yield frame
