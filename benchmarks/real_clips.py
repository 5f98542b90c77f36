"""Real clips and pictures as faces in frames, and self-blended fakes of them: what precision is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from deepfake_edge.choices import choose_finder, open_source
from deepfake_edge.containers import IMAGE_SUFFIXES
from deepfake_edge.data import Face, Floats, Frame, Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require
from deepfake_edge.pictures import read_picture
from deepfake_edge.pixels import to_bgr
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from deepfake_edge.training.footage import face_in
from deepfake_edge.training.self_blended import draw_blend, self_blend

_MOST_FRAMES = 600


@dataclass(frozen=True, slots=True)
class FaceClip:
    """A face through a clip; a picture is a clip of one frame.

    Attributes:
        name: of the file, or of what was made of it.
        pictures: uint8 (H, W, 3), BGR, at the model's rate.
        faces: the largest face in each.
    """

    name: str
    pictures: tuple[Pixels, ...]
    faces: tuple[Face, ...]


def read_clip(path: Path, fps: float | None, faces: str = "auto") -> FaceClip:
    """The frames of a clip that show a face, at a rate; or a picture, whole where it is a crop already.

    Args:
        path: a clip or a picture.
        fps: frames a second; None takes every frame.
        faces: what finds them, see `choices.choose_finder`.
    Raises:
        InvalidInput: no face is found in it, or there is no such finder.
        SourceError: it cannot be read.
    """
    finder = choose_finder(faces)[1]()
    if path.suffix.lower() in IMAGE_SUFFIXES:
        picture = read_picture(path).pixels
        height, width = picture.shape[:2]
        box = face_in(picture, finder) or (0.0, 0.0, float(width), float(height))
        return FaceClip(path.name, (picture,), (Face(box, 1.0),))
    pictures, largest = [], []
    with open_source(path, fps or 25.0) as source:
        for frame in _sampled(source.frames(), fps):
            (found,) = finder.find([frame])
            if found:
                pictures.append(np.array(to_bgr(frame)))
                largest.append(max(found, key=_area))
    if not largest:
        raise InvalidInput(f"{path}: no face in it")
    return FaceClip(path.name, tuple(pictures), tuple(largest))


def write_lossless(pictures: Sequence[Pixels], path: Path, fps: float) -> None:
    """Write pictures of one size, uint8 (H, W, 3) BGR, as FFV1. Raises InvalidInput: this OpenCV cannot."""
    cv2 = require("cv2")
    height, width = pictures[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"FFV1"), fps, (width, height))
    if not writer.isOpened():
        raise InvalidInput(f"{path}: this OpenCV cannot write FFV1")
    try:
        for picture in pictures:
            writer.write(picture)
    finally:
        writer.release()


def self_blended(clip: FaceClip, seed: int | Sequence[int], strength: float) -> FaceClip:
    """A fake of a real clip: the same blend in every frame, see `training.self_blended`."""
    random = np.random.default_rng(seed)
    blend = draw_blend(random, clip.faces[0], strength)
    pairs = zip(clip.pictures, clip.faces, strict=True)
    fakes = tuple(self_blend(picture, face.box_xyxy, blend, random)[0] for picture, face in pairs)
    return replace(clip, name=f"{clip.name}, self-blended {seed}", pictures=fakes)


def cut_clip(clip: FaceClip, spec: CropSpec) -> Floats:
    """A clip's faces as a network wants them: float32 (N, 3, S, S)."""
    pairs = zip(clip.pictures, clip.faces, strict=True)
    boxes = ((picture, np.asarray([face.box_xyxy], np.float32)) for picture, face in pairs)
    return np.concatenate([crop_batch(picture, box, spec) for picture, box in boxes])


def in_windows(values: Floats, frames: int, stride: int = 1) -> Floats:
    """Windows of values that follow each other: (N, ...) -> (W, frames, ...); none where there are too few."""
    starts = np.arange(0, max(len(values) - frames + 1, 0), stride)
    windows: Floats = values[starts[:, None] + np.arange(frames)]
    return windows


def area_under_curve(real: Floats, fake: Floats) -> float:
    """Area under the ROC curve of fake scores, by ranks.

    It is Mann and Whitney's U ("On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other", 1947) over the number of pairs: the share of pairs of a real and a fake one in which the fake one has the
    higher score, ties counting half. NaN where there are none.
    """
    if not len(real) or not len(fake):
        return float("nan")
    above = (fake[:, None] > real[None]).mean() + (fake[:, None] == real[None]).mean() / 2
    return float(above)


def _sampled(frames: Iterator[Frame], fps: float | None) -> Iterator[Frame]:
    """The frames that are due at a rate; half a millisecond of slack, as containers round their timestamps."""
    taken = -1
    for frame in islice(frames, _MOST_FRAMES):
        slot = frame.index if fps is None else int((frame.time_s + 5e-4) * fps)
        if slot > taken:
            taken = slot
            yield frame


def _area(face: Face) -> float:
    left, top, right, bottom = face.box_xyxy
    return (right - left) * (bottom - top)
