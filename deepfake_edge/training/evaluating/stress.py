"""What happens to videos on their way to a detector, done to a clip's face pictures one thing at a time."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np

from deepfake_edge.training.evaluating.judging import Shown
from deepfake_edge.training.feeding.augment import Change, change_window
from deepfake_edge.training.feeding.face_window import FaceWindow
from deepfake_edge.training.preparing.prepared import PreparedClip
from deepfake_edge.training.self_blended import Tone

_NOTHING = Change()


@dataclass(frozen=True, slots=True)
class Condition:
    """One thing that happens.

    Attributes:
        name: for tables.
        words: what is done, exactly.
        change: to all pictures of a clip alike.
        lost: share of the pictures that never arrive, 0..1.
    """

    name: str
    words: str
    change: Change = _NOTHING
    lost: float = 0.0


# Half of each level is about two stops less light.
_DARK = Tone(exposure=0.5)
CLEAN = Condition("clean", "face pictures as they were prepared")
CONDITIONS = (
    Condition("H.264 crf 23", "coded and decoded as H.264 by x264, constant rate factor 23", Change(crf=23)),
    Condition("H.264 crf 32", "the same with 32", Change(crf=32)),
    Condition("H.264 crf 40", "the same with 40", Change(crf=40)),
    Condition("resize 1/2", "shrunk to a half by area, and blown up again", Change(tone=Tone(shrink=2.0))),
    Condition("resize 1/4", "shrunk to a quarter, and blown up again", Change(tone=Tone(shrink=4.0))),
    Condition("blur", "Gaussian, standard deviation 2 % of the face's longer side", Change(blur=0.02)),
    Condition("dark", "all levels halved", Change(tone=_DARK)),
    Condition("noise", "Gaussian, standard deviation 10 of 255 levels, new in each picture", Change(noise=10.0)),
    Condition("frame loss", "three of ten pictures, drawn by chance, never arrive", lost=0.3),
)


def show(shown: Shown, clip: PreparedClip, condition: Condition) -> Shown:
    """A clip's pictures under a condition; what chance decides depends on the clip's id alone.

    Args:
        shown: the pictures as they were prepared.
        clip: whose boxes and id count.
        condition: what happens.
    Raises:
        MissingDependency: PyAV, which H.264 needs, is not installed.
    """
    seed = zlib.crc32(clip.id.encode())
    if condition.lost:
        shown = _thinned(shown, condition.lost, np.random.default_rng(seed))
    if condition.change == _NOTHING:
        return shown
    boxes = tuple(clip.boxes[place] for place in shown.places)
    window = FaceWindow(tuple(shown.pictures), boxes, (None,) * len(boxes))
    return replace(shown, pictures=change_window(window, replace(condition.change, noise_seed=seed)).pictures)


def _thinned(shown: Shown, lost: float, random: np.random.Generator) -> Shown:
    count = len(shown.places)
    kept = np.sort(random.permutation(count)[: max(round(count * (1 - lost)), 1)])
    return Shown([shown.pictures[number] for number in kept], shown.places[kept])
