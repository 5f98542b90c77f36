"""Face pictures that follow each other, as a self-blend, and as a model's crops."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from deepfake_edge.data import Box, Face, Floats, Pixels
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from deepfake_edge.training.preparing.prepared import Landmarks
from deepfake_edge.training.self_blended import draw_blend, self_blend


@dataclass(frozen=True, slots=True)
class FaceWindow:
    """Face pictures that follow each other; the tuples have one item a picture.

    Attributes:
        pictures: uint8 (H, W, 3), BGR; sizes differ; not to be changed.
        boxes: the face, in the picture's pixels; may leave it.
        landmarks: in the picture's pixels, or None.
    """

    pictures: tuple[Pixels, ...]
    boxes: tuple[Box, ...]
    landmarks: tuple[Landmarks | None, ...]


def blend_window(window: FaceWindow, random: np.random.Generator, strength: float) -> FaceWindow:
    """The same self-blend in every picture, which trembles a little in its place.

    Args:
        window: of a real clip.
        random: where chance comes from.
        strength: of its tone, see `self_blended.draw_tone`.
    """
    marked = [place for place, points in enumerate(window.landmarks) if points is not None]
    model = marked[0] if marked else 0
    blend = draw_blend(random, Face(window.boxes[model], 1.0, window.landmarks[model]), strength)
    pairs = zip(window.pictures, window.boxes, strict=True)
    return replace(window, pictures=tuple(self_blend(picture, box, blend, random)[0] for picture, box in pairs))


def cut_window(window: FaceWindow, spec: CropSpec) -> Floats:
    """A window's crops as Keras takes them, cut and normalised as inference does it: float32 (T, S, S, 3)."""
    planes = np.empty((len(window.boxes), 3, spec.size_px, spec.size_px), np.float32)
    for place, (picture, box) in enumerate(zip(window.pictures, window.boxes, strict=True)):
        crop_batch(picture, np.asarray([box], np.float32), spec, planes[place : place + 1])
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))
