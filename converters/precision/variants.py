"""Makes the variants of lower precision that were asked for, and proves each; what cannot be proved is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from deepfake_edge.converters.failures import told
from deepfake_edge.converters.parity import in_short
from deepfake_edge.converters.precision.candidates import Trial, relative_times
from deepfake_edge.converters.precision.gate import Gate, measure, objections
from deepfake_edge.converters.precision.graph import Layer, prepare, quantisable
from deepfake_edge.converters.precision.made import Made
from deepfake_edge.converters.precision.mixed import Build, Mixed, search
from deepfake_edge.converters.precision.quantise import quantise
from deepfake_edge.converters.precision.range_cache import observe_once
from deepfake_edge.converters.precision.ranges import Observed
from deepfake_edge.converters.precision.thresholds import METHODS
from deepfake_edge.converters.precision.typed import float16_nodes, overflowing, to_fp16
from deepfake_edge.data import Floats
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.model import normalise
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training.progress import Progress

# What a second int8 network must gain on ONNX Runtime's CPU to be worth its bytes.
WORTH = 1.3
# Below this rank correlation a network no longer tells apart what the source does, however small the differences.
_AGREES = 0.9


def make_variants(
    precisions: Iterable[str], trial: Trial, gates: Mapping[str, Gate], progress: Progress | None = None
) -> Made:
    """Lower the heavy network of a bundle.

    Args:
        precisions: some of `fp16`, `int8`.
        trial: the float32 bundle, and crops to choose and to judge by.
        gates: what passes, by precision.
        progress: is told what is being done.
    """
    made = Made()
    maker = _Maker(trial, gates, progress, made)
    tasks: dict[str, Callable[[], None]] = {"fp16": maker.fp16, "int8": maker.int8}
    for precision in precisions:
        try:
            with told(f"{precision} cannot be made"):
                tasks[precision]()
        except DeepfakeEdgeError as error:
            if precision in made.variants:
                # It is proved; what failed was to say what it costs, or to make more of it.
                made.notes.append(f"{precision}: {error}")
            else:
                made.left_out[precision] = (str(error),)
    return made


@dataclass(frozen=True)
class _Maker:
    trial: Trial
    gates: Mapping[str, Gate]
    progress: Progress | None
    made: Made

    @cached_property
    def prepared(self) -> bytes:
        return prepare(self.trial.graph)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        return quantisable(self.prepared)

    @cached_property
    def observed(self) -> Observed:
        crops = self.trial.calibration
        windows = crops.windows if self.trial.fused else None
        return observe_once(self.prepared, crops.crops, self.trial.draft.spec.crop, windows, self.progress)

    def fp16(self) -> None:
        if not self._can("fp16"):
            return
        wide = overflowing(self.observed.largest, self.prepared)
        every = {layer.name for layer in self.layers}

        def build(lowered: Collection[str]) -> bytes:
            return to_fp16(self.prepared, keep=every - set(lowered) | set(wide))

        mixed = self._search("fp16", build)
        if not float16_nodes(mixed.graph):
            self.made.left_out["fp16"] = ("nothing is left of it that float16 can hold",)
            return
        kept = sorted(set(wide) | every - set(mixed.lowered))
        self._finish("fp16", mixed, {"fp32": kept, "too_large_for_fp16": sorted(wide)}, build)

    def int8(self) -> None:
        if not self._can("int8"):
            return
        everything = [layer.name for layer in self.layers]
        losses: dict[str, float] = {}
        for method in METHODS:
            self._say(f"int8: trying ranges by {method}")
            ranges = self.observed.ranges(method)
            losses[method] = self.trial.loss("int8", quantise(self.prepared, ranges, everything))
        method = min(losses, key=lambda name: losses[name])
        ranges = self.observed.ranges(method)

        def build(lowered: Collection[str]) -> bytes:
            return quantise(self.prepared, ranges, lowered)

        mixed = self._search("int8", build)
        calibration = {
            "crops": len(self.trial.calibration.crops),
            "crops_are": self.trial.calibration.origin,
            "crops_sha256": hashlib.sha256(self.trial.calibration.crops.tobytes()).hexdigest(),
            "ranges_by": method,
            "loss_by_method": {name: float(f"{loss:.3g}") for name, loss in losses.items()},
        }
        kept = [name for name in everything if name not in mixed.lowered]
        self._finish("int8", mixed, {"int8": list(mixed.lowered), "fp32": kept, "calibration": calibration}, build)
        if "int8" in self.made.variants:
            self._unsigned(mixed, quantise(self.prepared, ranges, mixed.lowered, unsigned=True))

    def _can(self, precision: str) -> bool:
        """Whether anything can be lowered; else it is left out."""
        if not self.layers:
            self.made.left_out[precision] = (
                "it has no convolution or product with constant weights before its classifier",
            )
        return bool(self.layers)

    def _unsigned(self, signed: Mixed, graph: bytes) -> None:
        """A second int8 network for ONNX Runtime's CPU, where it gains enough there."""
        self._say("int8: is it worth a second network for ONNX Runtime?")
        _, ratio = relative_times([signed.graph, graph], _onnxruntime, self._batch)
        if ratio * WORTH > 1:
            return
        figures, against = self._judge("int8-unsigned", "int8", graph)
        if not against:
            self._add("int8-unsigned", graph, figures, self.made.variants["int8"].layers)

    def _search(self, precision: str, build: Build) -> Mixed:
        return search(
            self.layers,
            build,
            lambda graph: self._judge(precision, precision, graph),
            lambda graph: self.trial.loss(precision, graph),
            self.progress,
        )

    def _judge(self, name: str, precision: str, graph: bytes) -> tuple[dict[str, Any], list[str]]:
        self._say(f"{name}: comparing with the source on {len(self.trial.held_out.crops)} crops")
        figures = measure(
            self.trial.answers(name, graph), self.trial.truth, self.trial.draft.spec, fused=self.trial.fused
        )
        kept = {"crops": len(self.trial.held_out.crops), "crops_are": self.trial.held_out.origin, **in_short(figures)}
        return kept, list(objections(figures, self.gates[precision]))

    def _finish(self, precision: str, mixed: Mixed, layers: dict[str, Any], build: Build) -> None:
        if mixed.objections:
            advice = f"give more clips, real and fake, or set other limits: --gate {precision}.LIMIT=SHARE"
            self.made.left_out[precision] = (*mixed.objections, mixed.worst, advice)
            return
        if mixed.put_back:
            layers["put_back"] = [
                {
                    "layers": list(group.layers),
                    "loss_alone": float(f"{group.loss:.3g}"),
                    "multiply_adds": group.multiply_adds,
                }
                for group in mixed.put_back
            ]
        self._add(precision, mixed.graph, mixed.figures, layers)
        if mixed.put_back:
            self.made.notes.extend(self._prices(precision, mixed, build))

    def _prices(self, precision: str, mixed: Mixed, build: Build) -> Iterator[str]:
        """What went back to float32, one group after another, and how much longer it takes then than all lowered.

        Said, and not kept in the bundle: times differ from run to run, the same model gives the same bytes.
        """
        runtime = choose_runtime(RuntimeOptions())
        names = [layer.name for layer in self.layers]
        everything = build(names)
        for group in mixed.put_back:
            names = [name for name in names if name not in group.layers]
            # In pairs: a dozen networks at once would take a dozen times the memory.
            _, ratio = relative_times([everything, build(names)], runtime.network, self._batch)
            yield (
                f"{precision}: back to float32 went {', '.join(group.layers)} ({group.multiply_adds:.0%} of the work); "
                f"so far it takes {ratio:.2f} times as long as with all layers lowered ({runtime.name})"
            )

    def _add(self, name: str, graph: bytes, figures: dict[str, Any], layers: Mapping[str, Any]) -> None:
        variant = self.trial.variant(graph)
        golden = self.trial.golden(name, graph)
        self.made.variants[name] = replace(variant, parity=figures, golden=golden, layers=layers)
        agreement = figures["rank_agreement"]
        if agreement is None or agreement < _AGREES:
            found = "its scores are all alike" if agreement is None else f"rank agreement {agreement:.2f}"
            self.made.notes.append(
                f"{name} passes, but does not order these crops as the source does ({found}): they prove little; "
                "give real and fake clips of your own: --calibration PATH"
            )

    @cached_property
    def _batch(self) -> Floats:
        """One item, as the heavy network takes it."""
        calibration, spec = self.trial.calibration, self.trial.draft.spec
        if not self.trial.fused:
            return normalise(calibration.crops[:1], spec.crop)
        return np.ascontiguousarray(normalise(calibration.crops[calibration.windows[0]], spec.crop)).reshape(
            1, spec.clip.frames, -1
        )

    def _say(self, text: str) -> None:
        if self.progress is not None:
            self.progress(text)


def _onnxruntime(graph: bytes, name: str) -> OnnxRuntimeNetwork:
    return OnnxRuntimeNetwork(graph, name=name)
