"""Batches of windows, labels and weights; computed ahead, in parallel and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.datasets.entries import TrueLabel

Batch: TypeAlias = tuple[Floats, Floats, Floats]
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a batch: its crops (T, S, S, 3), its label, and what it counts in the loss."""

    crops: Floats
    label: TrueLabel
    weight: float = 1.0


def answer(label: TrueLabel, spec: ModelSpec) -> list[float]:
    """What a model should say of a label: one-hot in the order of its classes, or whether it is the sigmoid's."""
    return [float(label == name) for name in spec.classes]


def stack(windows: Sequence[Window], spec: ModelSpec) -> Batch:
    """Windows as Keras takes them.

    Returns:
        inputs float32 (B, T, S, S, 3), or (B, S, S, 3) of a per-frame model; labels (B, 2) of a softmax or (B, 1) of
        a sigmoid; weights (B,).
    """
    inputs = np.stack([window.crops for window in windows])
    return (
        inputs[:, 0] if spec.clip.frames == 1 else inputs,
        np.asarray([answer(window.label, spec) for window in windows], np.float32),
        np.asarray([window.weight for window in windows], np.float32),
    )


class Ahead:
    """Computes batches ahead for TensorFlow, and remembers which error of ours ended that.

    Args:
        spec: of the model.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._failure: DeepfakeEdgeError | None = None

    def dataset(self, batch: Callable[[int], Batch], steps: range, size: int | None) -> Any:
        """A tf.data.Dataset of `batch(step)` for each step, in order.

        Args:
            batch: makes one; called from several threads.
            steps: which.
            size: windows in each; None: they differ.
        """
        tensorflow = workshop.tensorflow()
        side, frames = self._spec.crop.size_px, self._spec.clip.frames
        clip = (side, side, 3) if frames == 1 else (frames, side, side, 3)
        shapes = ((size, *clip), (size, len(self._spec.classes)), (size,))

        def compute(step: int) -> Batch:
            try:
                return batch(int(step))
            except DeepfakeEdgeError as error:
                self._failure = error
                raise

        def shaped(step: Any) -> Any:
            parts = tensorflow.numpy_function(compute, [step], (tensorflow.float32,) * 3)
            return tuple(tensorflow.ensure_shape(part, shape) for part, shape in zip(parts, shapes, strict=True))

        numbers = tensorflow.data.Dataset.range(steps.start, steps.stop)
        parallel = tensorflow.data.AUTOTUNE
        return numbers.map(shaped, num_parallel_calls=parallel, deterministic=True).prefetch(_AHEAD)

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Within it, TensorFlow's report of a batch that could not be made becomes the error itself."""
        try:
            yield
        except workshop.tensorflow().errors.OpError:
            if self._failure is None:
                raise
            failure, self._failure = self._failure, None
            raise failure from None
