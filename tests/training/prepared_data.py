"""A prepared folder without videos: smooth variations of one photograph, whose fakes are self-blended."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deepfake_edge.data import Face
from deepfake_edge.faces.haar import Haar
from deepfake_edge.pictures import read_picture
from deepfake_edge.training.datasets.entries import SPLITS, ClipEntry
from deepfake_edge.training.face_crops import photograph
from deepfake_edge.training.footage import face_in
from deepfake_edge.training.preparing.face_picture import cut_face_picture
from deepfake_edge.training.preparing.prepared import CLIPS, Prepared, PreparedClip, read_prepared
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.store import start, write_clip
from deepfake_edge.training.self_blended import draw_blend, self_blend
from deepfake_edge.training.variations import variations

FPS = 12.0
# Where eyes, nose tip and corners of the mouth are in a box, roughly.
_LANDMARKS = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.78), (0.65, 0.78))


def make_prepared(folder: Path, clips: int = 2, frames: int = 12, most_px: int = 96, dataset: str = "made") -> Prepared:
    """Write and read a prepared folder.

    Args:
        folder: where; does not exist yet.
        clips: of each label in each split.
        frames: face pictures of a clip, consecutive at 12 a second.
        most_px: longer side of a face picture.
        dataset: the name that the clips carry.
    """
    settings = Settings(frames, "consecutive", FPS, None, "haar", most_px)
    start(folder, settings)
    picture = read_picture(photograph()).pixels
    box = face_in(picture, Haar())
    assert box is not None
    moments = list(variations(picture, box, 3 * clips * frames))
    for number in range(3 * clips):
        shown = moments[number * frames : (number + 1) * frames]
        for label in ("real", "fake"):
            _write(folder, number, label, shown, settings, dataset)
    return read_prepared(folder)


def _write(folder, number, label, shown, settings, dataset):
    random = np.random.default_rng(number)
    blend = draw_blend(random, Face(shown[0][1], 1.0, _points(shown[0][1])), 1.5)
    found = []
    for picture, box in shown:
        pixels = self_blend(picture, box, blend, random)[0] if label == "fake" else picture
        found.append(cut_face_picture(pixels, box, _points(box), settings.most_px))
    kind, person = "self-blended" if label == "fake" else None, f"person{number}"
    clip = PreparedClip(
        ClipEntry(f"{label}/{number:03d}.mp4", label, SPLITS[number % 3], dataset, kind, (person,), person),
        folder / CLIPS / f"{dataset}-{label}-{number:03d}",
        times_s=tuple(place / FPS for place in range(len(shown))),
        boxes=tuple(face.box for face in found),
        seen=tuple(place % 5 != 3 for place in range(len(shown))),
        landmarks=tuple(None if place % 5 == 3 else face.landmarks for place, face in enumerate(found)),
    )
    write_clip(clip, [face.pixels for face in found])


def _points(box):
    left, top, right, bottom = box
    return tuple((left + x * (right - left), top + y * (bottom - top)) for x, y in _LANDMARKS)
