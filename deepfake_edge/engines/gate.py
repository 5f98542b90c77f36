"""Proves engines on the device that they were built for: the bundle's golden crops at every batch size of the profile.

They are held against what ONNX Runtime gave for the same networks when they were converted, which is in the bundle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.errors import DeviceLost, InferenceError, OutOfDeviceMemory
from deepfake_edge.golden import Replay, replay
from deepfake_edge.golden_arrays import Golden, Outputs
from deepfake_edge.model import Model

_ADVICE = {
    "fp32": "take another runtime, and please report it",
    "fp16": "take --precision fp32, or convert it again with more layers in float32: "
    "deepfake-edge convert MODEL --precision fp16 --gate fp16.max=0.002",
    "int8": "take --precision fp16 or fp32, or convert it again with more crops and more layers in float32: "
    "deepfake-edge convert MODEL --precision int8 --calibration PATH --gate int8.mean=0.01",
}


@dataclass(frozen=True, slots=True)
class Proof:
    """What the engines gave: a replay a batch size."""

    replays: dict[int, Replay]

    def figures(self) -> dict[str, Any]:
        """As plain JSON types: the worst of all batch sizes, and by batch size."""
        every = self.replays.values()
        return {
            "own_max_diff": max(item.own_max_diff for item in every),
            "flips": max(item.flips for item in every),
            "tolerance": max(item.tolerance for item in every),
            "by_batch": {str(size): asdict(item) for size, item in self.replays.items()},
        }


def prove(model: Model, bundle: Bundle, batch: BatchProfile) -> Proof:
    """Replay the golden crops at the least, the best and the largest batch; each batch is full.

    Raises:
        InferenceError: an engine fails, gives numbers that are not finite, lies outside of the tolerance, or changes a
            label; says the worst figure and what to try.
    """
    replays: dict[int, Replay] = {}
    for size in sorted(set(batch.sizes)):
        try:
            found = replay(model, filled(bundle, model.variant, size), size)
        except (OutOfDeviceMemory, DeviceLost):
            raise
        except InferenceError as error:
            raise InferenceError(f"{_refused(model, size)}: {error}; {_ADVICE[model.precision]}") from error
        if not found.passed:
            raise InferenceError(
                f"{_refused(model, size)}: outputs differ by up to {found.own_max_diff:.1e} from ONNX Runtime's "
                f"({found.tolerance:.0e} passes), {found.flips} of {found.windows} labels; {_ADVICE[model.precision]}"
            )
        replays[size] = found
    return Proof(replays)


def filled(bundle: Bundle, variant: str, batch: int) -> Bundle:
    """The same bundle with its golden crops and windows again and again, until they fill whole batches.

    Each place of a batch meets a crop, and each crop's features meet the head, wherever in the batch they stood.
    """
    golden, kept = bundle.golden, bundle.variants[variant]
    if kept.golden is None:
        return bundle
    crops = _again(len(golden.crops), batch)
    copies = -(-len(crops) // len(golden.crops))
    shifted = [golden.windows + copy * len(golden.crops) for copy in range(copies)]
    every = np.concatenate([np.where(item < len(crops), item, golden.windows) for item in shifted])
    order = _again(len(every), batch)
    windows = order % len(golden.windows)
    whole = Golden(golden.crops[crops], every[order], golden.features[crops], golden.outputs[windows])
    own = Outputs(kept.golden.features[crops], kept.golden.outputs[windows])
    return replace(bundle, golden=whole, variants={variant: replace(kept, golden=own)})


def _again(count: int, batch: int) -> NDArray[np.int64]:
    """0, 1, ... `count` - 1 and again from 0, until whole batches are full."""
    return np.arange(-(-count // batch) * batch) % count


def _refused(model: Model, batch: int) -> str:
    return f"{model.name}: the {model.precision} engines are not kept: on this GPU, at batch {batch}"
