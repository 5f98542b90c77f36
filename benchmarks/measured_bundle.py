"""One precision of a bundle on one runtime, as a process that is measured; see `process.Contender`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.benchmarks.process import memory_bytes, serve, times_ms
from deepfake_edge.bundle import read_bundle
from deepfake_edge.data import Floats
from deepfake_edge.golden import load, replay
from deepfake_edge.model import Model, normalise
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime


class _Subject:
    """What is measured; its public methods are the tasks."""

    _model: Model
    _crops: NDArray[np.uint8]
    _before: dict[str, int]

    def load(self, bundle: str, runtime: str, precision: str, threads: int | None) -> dict[str, Any]:
        """Load, give a first score, replay the golden crops.

        Args:
            bundle: its path.
            runtime: its name.
            precision: as a user asks for it.
            threads: of the runtime; None for its own choice.
        Returns:
            `variant`: the networks that it takes; `load_s`, from opening the file to the first score; the `replay`'s
            figures.
        """
        self._before = memory_bytes()
        start = time.perf_counter()
        found = read_bundle(Path(bundle))
        chosen = choose_runtime(RuntimeOptions(runtime, precision, threads), found)
        self._crops = found.golden.crops
        self._model = load(found, precision, chosen)
        self._model.outputs(self._window())
        load_s = time.perf_counter() - start
        result = replay(self._model, found)
        figures = {**asdict(result), "passed": result.passed}
        return {"variant": self._model.variant, "load_s": load_s, "replay": figures}

    def calls(self, batch: int, seconds: float) -> dict[str, Any]:
        """Time the backbone on `batch` crops a call; a fused clip network on `batch` windows a call."""
        if self._model.fused:
            return self.head(batch, seconds)
        crops = normalise(self._crops[np.arange(batch) % len(self._crops)], self._model.spec.crop)
        return {"times_ms": times_ms(lambda: self._model.features(crops), seconds)}

    def head(self, batch: int, seconds: float) -> dict[str, Any]:
        """Time the head, or the whole of a fused clip network, on `batch` windows a call."""
        windows = np.concatenate([self._window()] * batch)
        return {"times_ms": times_ms(lambda: self._model.outputs(windows), seconds)}

    def memory(self) -> dict[str, Any]:
        """Bytes beyond what Python and numpy took before anything was loaded."""
        now = memory_bytes()
        return {name: now[name] - self._before["resident"] for name in now}

    def _window(self) -> Floats:
        """Features of a golden crop, as if it filled a window: (1, frames, F)."""
        features = self._model.features(normalise(self._crops[:1], self._model.spec.crop))
        return np.repeat(features[None], self._model.spec.clip.frames, axis=1)


def main() -> None:
    """Serve."""
    subject = _Subject()
    serve({task.__name__: task for task in (subject.load, subject.calls, subject.head, subject.memory)})
