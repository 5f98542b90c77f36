"""Face crops out of one clip or one picture, through the face finder and the native crop of inference."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np

from deepfake_edge.choices import open_source
from deepfake_edge.containers import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from deepfake_edge.data import Box, Frame, Pixels
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.pixels import to_bgr
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.spec import ClipSpec, CropSpec
from deepfake_edge.training.variations import variations

# A face that fills this share of a picture's longer side: the picture is a crop already.
_CROP_SHARE = 0.7
_SCANNED_FRAMES = 600
# A clip that shows its face all the time and is sampled twice a second needs this many frames a crop.
_FRAMES_A_CROP = 15

Item = TypeVar("Item")


def list_footage(place: Path) -> tuple[list[Path], list[Path]]:
    """The clips and the pictures of a folder and all within it, each in the order of their names; or the one file.

    Raises:
        InvalidInput: there is none.
    """
    if not place.exists():
        raise InvalidInput(f"calibration: {place} does not exist")
    files = [place]
    if place.is_dir():
        files = sorted(file for file in place.rglob("*") if file.is_file() and file.name[0] != ".")
    clips = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not clips and not pictures:
        raise InvalidInput(f"calibration: no clip or picture in {place}")
    return clips, pictures


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` items, evenly spread, in their order."""
    if len(items) <= most:
        return list(items)
    return [items[round(place)] for place in np.linspace(0, len(items) - 1, most)]


def clip_crops(path: Path, crop: CropSpec, clip: ClipSpec, finder: FaceFinder, wanted: int) -> Pixels:
    """The first crops of a clip's largest face that follow each other at the model's rate.

    Returns:
        uint8 (N, S, S, 3), N <= wanted, channels in the spec's order, not normalised.
    Raises:
        SourceError: it cannot be read.
    """
    crops: list[Pixels] = []
    with closing(_sampled(path, clip, wanted)) as frames:
        for frame in frames:
            crops += _largest_face(frame, crop, finder)
            if len(crops) == wanted:
                break
    return _stacked(crops, crop)


def spread_crops(path: Path, crop: CropSpec, finder: FaceFinder, wanted: int) -> Pixels:
    """Crops of a clip's largest face, evenly spread over its frames; else as `clip_crops`.

    How many frames there are is not known before the last: whenever there are twice as many crops as wanted, every
    second one goes and frames are looked at half as often.
    """
    crops: list[Pixels] = []
    step, due = 1, 0
    with closing(_sampled(path, ClipSpec(), wanted)) as frames:
        for place, frame in enumerate(frames):
            if place < due:
                continue
            crops += _largest_face(frame, crop, finder)
            if len(crops) == 2 * wanted:
                crops, step = crops[::2], 2 * step
            due = place + step
    return _stacked(spread(crops, wanted), crop)


def face_in(picture: Pixels, finder: FaceFinder) -> Box | None:
    """The box of a picture's largest face; None where there is none, or where the picture is a crop already.

    Args:
        picture: uint8 (H, W, 3), BGR.
        finder: what looks.
    """
    (faces,) = finder.find([Frame(0, 0.0, picture)])
    if not faces:
        return None
    box = max((face.box_xyxy for face in faces), key=_area)
    height, width = picture.shape[:2]
    share = max((box[2] - box[0]) / width, (box[3] - box[1]) / height)
    return None if share >= _CROP_SHARE else box


def picture_crop(picture: Pixels, face: Box | None, crop: CropSpec) -> Pixels:
    """The one crop of a BGR picture, uint8 (1, S, S, 3); None for `face` takes the whole picture."""
    return _cut(picture, [_box(picture, face)], crop)


def varied_crops(picture: Pixels, face: Box | None, crop: CropSpec, count: int) -> Pixels:
    """Crops of smooth variations of a BGR picture, uint8 (count, S, S, 3); see `variations`."""
    moments = variations(picture, _box(picture, face), count)
    return np.concatenate([_cut(varied, [moved], crop) for varied, moved in moments])


def varied_again(finished: Pixels, crop: CropSpec, count: int) -> Pixels:
    """Crops of smooth variations of a crop (S, S, 3) in the spec's channel order."""
    picture = np.ascontiguousarray(finished[..., ::-1] if crop.channel_order == "rgb" else finished)
    return varied_crops(picture, None, crop, count)


def _sampled(path: Path, clip: ClipSpec, wanted: int) -> Generator[Frame, None, None]:
    """A clip's frames at the model's rate, as many as `wanted` crops may need."""
    rate = clip.sample_fps
    most = max(_SCANNED_FRAMES, wanted * _FRAMES_A_CROP)
    due = 0.0
    try:
        with open_source(path, rate or 25.0) as source:
            for frame in islice(source.frames(), most):
                # Half a millisecond of slack: containers round their timestamps.
                if rate is None or frame.time_s + 5e-4 >= due:
                    period = 1.0 / rate if rate else 0.0
                    due = max(due, frame.time_s - period) + period
                    yield frame
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from error


def _largest_face(frame: Frame, crop: CropSpec, finder: FaceFinder) -> list[Pixels]:
    (faces,) = finder.find([frame])
    if not faces:
        return []
    box = max((face.box_xyxy for face in faces), key=_area)
    return [_cut(to_bgr(frame), [box], crop)[0]]


def _stacked(crops: Sequence[Pixels], crop: CropSpec) -> Pixels:
    return np.stack(crops) if crops else np.zeros((0, crop.size_px, crop.size_px, 3), np.uint8)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _box(picture: Pixels, face: Box | None) -> Box:
    height, width = picture.shape[:2]
    return (0.0, 0.0, float(width), float(height)) if face is None else face


def _cut(picture: Pixels, boxes: Sequence[Box], crop: CropSpec) -> Pixels:
    """Cut and resize as a device does, but leave the values as they are: uint8 (N, S, S, 3)."""
    plain = replace(crop, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    planes = crop_batch(picture, np.asarray(boxes, np.float32), plain)
    return np.ascontiguousarray(np.rint(planes).astype(np.uint8).transpose(0, 2, 3, 1))
