"""The batches that a model trains on: drawn, balanced, blended and augmented windows of prepared clips."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np

from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import h264
from deepfake_edge.training.datasets.entries import TrueLabel
from deepfake_edge.training.feeding.augment import change_window, draw_change
from deepfake_edge.training.feeding.batches import Ahead, Batch, Window, stack
from deepfake_edge.training.feeding.face_window import blend_window, cut_window
from deepfake_edge.training.feeding.options import FeedOptions
from deepfake_edge.training.feeding.order import Sample, epoch_order, epoch_shares
from deepfake_edge.training.feeding.picture_cache import PictureCache
from deepfake_edge.training.feeding.sampling import draw_places, picture_step
from deepfake_edge.training.preparing.prepared import PreparedClip

# What a generator is for: the first of the numbers that it is seeded with.
_ORDER, _WINDOW, _BLEND = 1, 2, 3


class ClipFeed:
    """Batches of an epoch, each a pure function of (seed, epoch, step).

    A self-blend and the real window that it is made of get the same pictures and the same change.

    Args:
        clips: of the split `train`.
        spec: how crops are cut and sampled, and the order of the classes.
        options: what is drawn.
        cache: of pictures, to be shared with other feeds; None: one of its own.
    Raises:
        InvalidInput: a clip is of another split, or a label that is needed has no clip.
        MissingDependency: H.264 is wanted and PyAV is not installed.
    """

    def __init__(
        self, clips: Sequence[PreparedClip], spec: ModelSpec, options: FeedOptions, cache: PictureCache | None = None
    ) -> None:
        for clip in clips:
            if clip.entry.split != "train":
                raise InvalidInput(f"{clip.id}: is of {clip.entry.split}; only clips of train may be trained on")
        self._clips, self._spec, self._options = tuple(clips), spec, options
        self._labels: tuple[TrueLabel, ...] = tuple(clip.entry.label for clip in clips)
        self._shares = epoch_shares(self._labels, options)
        if options.augment.video:
            h264.codec()
        self._cache = cache or PictureCache(options.cache_mb << 20)
        self._ahead = Ahead(spec)
        self._order = lru_cache(maxsize=2)(self._epoch_order)

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return len(self._order(0)) // self._options.batch

    def batch(self, epoch: int, step: int) -> Batch:
        """One batch.

        Args:
            epoch: 0-based.
            step: 0-based, within the epoch.
        Returns:
            inputs float32 (B, T, S, S, 3), or (B, S, S, 3) of a per-frame model, normalised; labels float32 (B, 2) of
            a softmax or (B, 1) of a sigmoid, in the order of the spec's classes; weights float32 (B,).
        Raises:
            SourceError: a picture is absent or damaged.
        """
        first = step * self._options.batch
        samples = self._order(epoch)[first : first + self._options.batch]
        return stack([self._window(epoch, sample) for sample in samples], self._spec)

    def dataset(self, epoch: int, first_step: int = 0) -> Any:
        """A tf.data.Dataset of an epoch's batches, in order, from a step on; read it within `typed_errors`."""
        steps = range(first_step, self.steps)
        return self._ahead.dataset(lambda step: self.batch(epoch, step), steps, self._options.batch)

    def typed_errors(self) -> AbstractContextManager[None]:
        """Within it, a picture that cannot be read is a SourceError, also where TensorFlow reads the dataset."""
        return self._ahead.typed_errors()

    def _epoch_order(self, epoch: int) -> tuple[Sample, ...]:
        return epoch_order(self._labels, self._options, self._random(_ORDER, epoch, 0))

    def _window(self, epoch: int, sample: Sample) -> Window:
        clip, options, clip_spec = self._clips[sample.clip], self._options, self._spec.clip
        random = self._random(_WINDOW, epoch, sample.draw)
        varied = options.augment.strength if random.random() < options.augment.frames else 0.0
        step = picture_step(clip, clip_spec)
        places = draw_places(random, len(clip.times_s), clip_spec.frames, step, varied)
        change = draw_change(random, options.augment)
        window = self._cache.window(clip, places.tolist())
        if sample.blended:
            window = blend_window(window, self._random(_BLEND, epoch, sample.draw), options.blend_strength)
        crops = cut_window(change_window(window, change), self._spec.crop)
        label: TrueLabel = "fake" if sample.blended else clip.entry.label
        return Window(crops, label, self._shares.weight(label, options))

    def _random(self, purpose: int, epoch: int, draw: int) -> np.random.Generator:
        return np.random.default_rng((purpose, self._options.seed, epoch, draw))
