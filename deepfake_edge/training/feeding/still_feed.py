"""The batches that a model is looked at with: fixed windows of clips, as they are."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np

from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.datasets.entries import TrueLabel
from deepfake_edge.training.feeding.batches import Ahead, Batch, Window, stack
from deepfake_edge.training.feeding.face_window import blend_window, cut_window
from deepfake_edge.training.feeding.options import FeedOptions
from deepfake_edge.training.feeding.picture_cache import PictureCache
from deepfake_edge.training.feeding.sampling import picture_step, spread_places
from deepfake_edge.training.preparing.prepared import PreparedClip


@dataclass(frozen=True, slots=True)
class StillWindow:
    """One fixed window.

    Attributes:
        clip: where it is from.
        blended: it is a self-blend of the clip, which is real.
        places: which pictures.
    """

    clip: PreparedClip
    blended: bool
    places: tuple[int, ...]

    @property
    def name(self) -> str:
        """The clip's id; all windows of a name are one clip's, and have one label."""
        return f"{self.clip.id}, self-blended" if self.blended else self.clip.id

    @property
    def label(self) -> TrueLabel:
        """What it is to be taken for."""
        return "fake" if self.blended else self.clip.entry.label


class StillFeed:
    """Fixed windows of clips without augmentation: the same at every call, in the order of `windows`.

    Where self-blends are trained on, real clips come as themselves and as one fixed self-blend each; where they are
    the only fakes, fake clips are left out.

    Args:
        clips: of any split.
        spec: how crops are cut and sampled, and the order of the classes.
        options: batch size, seed, and the share and strength of self-blends.
        cache: of pictures, as for `ClipFeed`.
        windows_a_clip: at most, spread evenly over the clip.
    """

    def __init__(
        self,
        clips: Sequence[PreparedClip],
        spec: ModelSpec,
        options: FeedOptions,
        cache: PictureCache | None = None,
        *,
        windows_a_clip: int = 4,
    ) -> None:
        self._spec, self._options = spec, options
        shown = [(clip, False) for clip in clips if clip.entry.label == "real" or options.self_blended < 1.0]
        shown += [(clip, True) for clip in clips if clip.entry.label == "real" and options.self_blended]
        self.windows = tuple(
            StillWindow(clip, blended, tuple(places))
            for clip, blended in shown
            for places in self._places(clip, windows_a_clip)
        )
        self._cache = cache or PictureCache(options.cache_mb << 20)
        self._ahead = Ahead(spec)

    @property
    def steps(self) -> int:
        """Batches of all windows; the last may be smaller."""
        return -(-len(self.windows) // self._options.batch)

    def batch(self, step: int) -> Batch:
        """One batch, as `ClipFeed.batch`; every weight is 1. Raises SourceError."""
        first = step * self._options.batch
        windows = self.windows[first : first + self._options.batch]
        return stack([Window(self._crops(window), window.label) for window in windows], self._spec)

    def dataset(self) -> Any:
        """A tf.data.Dataset of all batches, in order; read it within `typed_errors`."""
        return self._ahead.dataset(self.batch, range(self.steps), None)

    def typed_errors(self) -> AbstractContextManager[None]:
        """As `ClipFeed.typed_errors`."""
        return self._ahead.typed_errors()

    def _places(self, clip: PreparedClip, windows: int) -> list[list[int]]:
        frames = self._spec.clip.frames
        found: list[list[int]] = spread_places(
            len(clip.times_s), frames, picture_step(clip, self._spec.clip), windows
        ).tolist()
        return found

    def _crops(self, still: StillWindow) -> Any:
        window = self._cache.window(still.clip, still.places)
        if still.blended:
            # By its name, so that a clip's blend does not depend on the others.
            random = np.random.default_rng((self._options.seed, crc32(still.clip.id.encode())))
            window = blend_window(window, random, self._options.blend_strength)
        return cut_window(window, self._spec.crop)
