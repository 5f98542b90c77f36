"""Which clips an epoch shows, as what, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import TrueLabel
from deepfake_edge.training.feeding.options import FeedOptions


@dataclass(frozen=True, slots=True)
class Sample:
    """One window of an epoch.

    Attributes:
        clip: its number among the feed's clips.
        blended: it is a self-blend of that clip, which is real.
        draw: what is drawn for it belongs to this number; a self-blend shares it with the real window that it is
            made of.
    """

    clip: int
    blended: bool
    draw: int


@dataclass(frozen=True, slots=True)
class Shares:
    """How many windows of each kind an epoch shows."""

    real: int
    fake: int
    blended: int

    def weight(self, label: TrueLabel, options: FeedOptions) -> float:
        """What a window of this label counts in the loss; 1.0 on average over an epoch."""
        if options.balance != "weights":
            return 1.0
        count = self.real if label == "real" else self.fake + self.blended
        return (self.real + self.fake + self.blended) / (2 * count)


def epoch_shares(labels: Sequence[TrueLabel], options: FeedOptions) -> Shares:
    """How many windows of each kind an epoch shows.

    Args:
        labels: of the feed's clips.
        options: what is wanted.
    Raises:
        InvalidInput: a label that is needed has no clip.
    """
    reals, fakes = labels.count("real"), labels.count("fake")
    if not reals:
        raise InvalidInput("no real clip to train on; prepare some, or check the folder's splits")
    alone = options.self_blended == 1.0
    if not fakes and not alone:
        raise InvalidInput("no fake clip to train on; prepare some, or train on self-blended images alone (1.0)")
    real, fake = reals * options.windows, (reals if alone else fakes) * options.windows
    if options.balance == "sampling":
        real = fake = max(real, fake)
    blended = round(options.self_blended * fake)
    return Shares(real, fake - blended, blended)


def epoch_order(labels: Sequence[TrueLabel], options: FeedOptions, random: np.random.Generator) -> tuple[Sample, ...]:
    """The windows of an epoch in their order, filled up to whole batches with more of the same clips.

    Every clip of a label comes before any comes again. A self-blend stands beside the real window that it is made of,
    so that both meet in one batch where its size is even; the other fakes stand beside the other real ones.

    Args:
        labels: of the feed's clips.
        options: what is wanted.
        random: where chance comes from.
    Raises:
        InvalidInput: a label that is needed has no clip.
    """
    shares = epoch_shares(labels, options)
    reals, fakes = ([place for place, label in enumerate(labels) if label == wanted] for wanted in ("real", "fake"))
    shown = _dealt(random, reals, max(shares.real, shares.blended))
    left = [(clip, False) for clip in shown[: shares.real]]
    right = [(clip, True) for clip in shown[: shares.blended]]
    right += [(clip, False) for clip in _dealt(random, fakes, shares.fake)]
    pairs = list(zip_longest(left, right))
    samples = [
        Sample(clip, blended, draw)
        for draw in map(int, random.permutation(len(pairs)))
        for clip, blended in filter(None, pairs[draw])
    ]
    whole = -(-len(samples) // options.batch) * options.batch
    again = range(len(samples), whole)
    samples += [_again(samples[place % len(samples)], len(pairs) * (place // len(samples))) for place in again]
    return tuple(samples)


def _again(sample: Sample, later: int) -> Sample:
    return replace(sample, draw=sample.draw + later)


def _dealt(random: np.random.Generator, clips: Sequence[int], count: int) -> list[int]:
    """As many clips as wanted: every one comes before any comes again."""
    rounds = -(-count // len(clips)) if clips else 0
    dealt = [int(clip) for _ in range(rounds) for clip in random.permutation(clips)]
    return dealt[:count]
