"""What the source itself makes of real crops: the truth that every converted network is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.data import Floats
from deepfake_edge.golden_arrays import Golden

_BATCH = 4
_GOLDEN_CROPS = 8


@dataclass(frozen=True, slots=True)
class Reference:
    """What the source makes of the crops.

    Attributes:
        windows: int64 (W, frames), the crop set's windows and after them the golden ones.
        features: float32 (N, F), by the cut model's backbone, run by TensorFlow; (N, 0) of a fused clip network.
        cut_outputs: float32 (W, C), by the cut model's head on those features, run by TensorFlow.
        layer_outputs: float32 (W, C), by the model's own Keras layers, each crop met once; `cut_outputs` where
            there is nothing to do once.
        whole_outputs: float32 (L, C), by the model as it was loaded, called on the windows that `whole` lists.
        whole: numbers of L windows.
        golden: a few of the crops with the same.
        frame_outputs: float32 (W, frames, C), Keras's word on each frame; None where the model gives none.
    """

    windows: NDArray[np.int64]
    features: Floats
    cut_outputs: Floats
    layer_outputs: Floats
    whole_outputs: Floats
    whole: NDArray[np.int64]
    golden: Golden
    frame_outputs: Floats | None = None

    @property
    def outputs(self) -> Floats:
        """Keras's word on every window: the whole model's where it was called, its layers' elsewhere."""
        outputs: Floats = self.layer_outputs.copy()
        outputs[self.whole] = self.whole_outputs
        return outputs


def golden_windows(crops: int, frames: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which crops are kept, evenly spread, and windows over those that are kept.

    Windows go forwards and backwards; around again where they have more frames.
    """
    chosen: NDArray[np.int64] = np.linspace(0, crops - 1, _GOLDEN_CROPS).round().astype(np.int64)
    if frames == 1:
        return chosen, np.arange(_GOLDEN_CROPS, dtype=np.int64)[:, None]
    steps = np.arange(frames)
    return chosen, (np.stack([steps, -1 - steps]) % _GOLDEN_CROPS).astype(np.int64)


def batches(items: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """A few at a time."""
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
