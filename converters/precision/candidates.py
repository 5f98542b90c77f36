"""A network of lower precision on trial: put into the bundle's draft, run on real crops, timed against others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.converters.parity import Answers, run
from deepfake_edge.converters.precision.typed import rounding
from deepfake_edge.converters.reference import Reference
from deepfake_edge.data import Floats
from deepfake_edge.golden import outputs_of
from deepfake_edge.golden_arrays import Outputs
from deepfake_edge.model import Model, NetworkFactory, fake_scores
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training.face_crops import CropSet, windows_over

# Calibration crops on which candidates are compared with float32; more where one window takes more.
_COMPARED = 64
_LEAST = 1e-6
_ROUNDS = 7


@dataclass(frozen=True)
class Trial:
    """What candidates of a bundle are tried on.

    Attributes:
        draft: the bundle with its float32 variant.
        truth: what the source makes of the held-out crops.
        held_out: crops to judge by.
        calibration: other crops, to choose by.
    """

    draft: Bundle
    truth: Reference
    held_out: CropSet
    calibration: CropSet

    @property
    def fused(self) -> bool:
        """Whether the network that is lowered takes whole clips."""
        return self.draft.variants["fp32"].backbone is None

    @property
    def graph(self) -> bytes:
        """The float32 network that is lowered: the backbone, or a fused clip network."""
        fp32 = self.draft.variants["fp32"]
        graph = fp32.head if fp32.backbone is None else fp32.backbone
        assert graph is not None
        return graph

    def variant(self, graph: bytes) -> Variant:
        """The float32 variant with a network in the place of its heavy one."""
        fp32 = self.draft.variants["fp32"]
        lowered = replace(fp32, head=graph) if self.fused else replace(fp32, backbone=graph)
        return replace(lowered, parity={}, golden=None, layers={})

    def answers(self, name: str, graph: bytes) -> Answers:
        """A candidate's answers to the held-out crops."""
        with self._model(name, graph) as model:
            return run(model, self.held_out.crops, self.truth.windows)

    def golden(self, name: str, graph: bytes) -> Outputs:
        """A candidate's answers to the golden crops."""
        with self._model(name, graph) as model:
            return outputs_of(model, self.draft.golden)

    def loss(self, name: str, graph: bytes) -> float:
        """How far a candidate lies from float32 on calibration crops: the mean difference of the log-odds.

        Log-odds, since the probabilities of a sure model hardly move.
        """
        with self._model(name, graph) as model:
            found = run(model, self._compared.crops, self._compared.windows)
        return float(np.abs(self._log_odds(found) - self._log_odds(self._float32)).mean())

    @cached_property
    def _compared(self) -> CropSet:
        """Few of the calibration crops, evenly spread, in the model's windows: whole ones of a fused clip network;
        else overlapping ones, since each crop is computed once."""
        crops, clip, origin = self.calibration.crops, self.draft.spec.clip, self.calibration.origin
        if self.fused:
            windows = self.calibration.windows
            chosen = windows[_evenly(len(windows), max(1, _COMPARED // clip.frames))]
            return CropSet(crops[chosen.reshape(-1)], np.arange(chosen.size).reshape(chosen.shape), origin)
        few = crops[_evenly(len(crops), max(_COMPARED, clip.frames))]
        return CropSet(few, windows_over([len(few)], clip, _COMPARED), origin)

    @cached_property
    def _float32(self) -> Answers:
        with self._model("fp32", self.graph) as model:
            return run(model, self._compared.crops, self._compared.windows)

    def _log_odds(self, answers: Answers) -> NDArray[np.float64]:
        scores = np.clip(fake_scores(answers.outputs, self.draft.spec), _LEAST, 1 - _LEAST)
        odds: NDArray[np.float64] = np.log(scores) - np.log1p(-scores)
        return odds

    def _model(self, name: str, graph: bytes) -> Model:
        # A CPU computes float16 in float32; what is judged is what a GPU does, which rounds every value.
        rounded = name == "fp16"
        bundle = replace(self.draft, variants={name: self.variant(rounding(graph) if rounded else graph)})
        return Model(bundle, name, lambda data, title: OnnxRuntimeNetwork(data, name=title, optimise=not rounded))


def _evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of `count` places, evenly spread."""
    places: NDArray[np.int64] = np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    return places


def relative_times(graphs: Sequence[bytes], network: NetworkFactory, batch: Floats) -> list[float]:
    """The median time of each network for a batch, as a multiple of the first's; they take turns."""
    with ExitStack() as stack:
        networks = []
        for graph in graphs:
            networks.append(network(graph, "a candidate"))
            stack.callback(networks[-1].close)
        spent: list[list[float]] = [[] for _ in networks]
        for turn in range(_ROUNDS + 1):
            for each, times in zip(networks, spent, strict=True):
                start = time.perf_counter()
                each.run({each.inputs[0].name: batch})
                if turn:  # the first warms up
                    times.append(time.perf_counter() - start)
    medians = [statistics.median(times) for times in spent]
    return [median / medians[0] for median in medians]
