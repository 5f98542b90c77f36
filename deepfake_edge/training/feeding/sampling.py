"""Which face pictures of a clip make a window."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.preparing.prepared import PreparedClip

_RATES = (0.8, 1.25)
_REPEATED, _DROPPED = 0.1, 0.1


def picture_step(clip: PreparedClip, spec: ClipSpec) -> int:
    """How many pictures one crop lies behind the one before at the model's rate.

    1 where pictures lie further apart than that: then a window spans more time than the model's; and where most of
    them have one time.
    """
    if spec.sample_fps is None or len(clip.times_s) < 2:
        return 1
    apart_s = float(np.median(np.diff(clip.times_s)))
    return max(round(1 / (spec.sample_fps * apart_s)), 1) if apart_s else 1


def draw_places(
    random: np.random.Generator, count: int, frames: int, step: int, strength: float = 0.0
) -> NDArray[np.int64]:
    """A window that starts anywhere.

    Args:
        random: where chance comes from.
        count: pictures of the clip.
        frames: crops in a window.
        step: pictures from one crop to the next.
        strength: how much the rate changes, and how many frames are repeated and dropped; 0.0: not at all.
    Returns:
        int64 (frames,), which pictures; a clip that is too short is gone through back and forth.
    """
    advances = np.full(frames - 1, float(step))
    if strength:
        advances *= np.power(random.choice(_RATES), random.random() * strength)
        fates = random.random(frames - 1) / strength
        advances[fates < _REPEATED] = 0.0
        advances[(fates >= _REPEATED) & (fates < _REPEATED + _DROPPED)] *= 2
    places = np.concatenate([[0.0], np.cumsum(advances)]).astype(np.int64)
    free = count - int(places[-1])
    start = random.integers(free if free > 0 else _period(count))
    return _back_and_forth(start + places, count)


def spread_places(count: int, frames: int, step: int, windows: int) -> NDArray[np.int64]:
    """Windows that are spread evenly over a clip.

    Args:
        count: pictures of the clip.
        frames: crops in a window.
        step: pictures from one crop to the next.
        windows: how many, at most; a clip that is too short for one gives one, gone through back and forth.
    Returns:
        int64 (W, frames), which pictures.
    """
    last = max(count - 1 - (frames - 1) * step, 0)
    starts = np.unique(np.linspace(0, last, windows).round().astype(np.int64))
    return _back_and_forth(starts[:, None] + step * np.arange(frames), count)


def _period(count: int) -> int:
    return max(2 * count - 2, 1)


def _back_and_forth(places: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    within = places % _period(count)
    folded: NDArray[np.int64] = np.where(within < count, within, _period(count) - within)
    return folded
