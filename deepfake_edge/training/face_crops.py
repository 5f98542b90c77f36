"""Face crops and windows to prove parity on: from the user's own clips and pictures, else from a photograph.

Crops go through the same native preprocessing as on a device. A *strip* is a row of crops that follow each other:
a clip's, or smooth variations of one picture.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.choices import choose_finder, open_source
from deepfake_edge.containers import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from deepfake_edge.data import Box, Frame, Pixels
from deepfake_edge.errors import InvalidInput, MissingDependency, SourceError
from deepfake_edge.faces.haar import Haar
from deepfake_edge.pictures import read_picture
from deepfake_edge.pixels import to_bgr
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.spec import ClipSpec, CropSpec
from deepfake_edge.training.variations import variations

MIN_CROPS, MIN_WINDOWS = 64, 16
_MAX_CLIPS, _MAX_PICTURES = 6, 24
# A face that fills this share of a picture's longer side: the picture is a crop already.
_CROP_SHARE = 0.7
_SCANNED_FRAMES = 600
# Of a labelled clip: crops beyond the first window, and windows over all of them.
_MORE_CROPS, _SPREAD_WINDOWS = 31, 8


@dataclass(frozen=True, slots=True)
class CropSet:
    """Crops and the windows over them.

    Attributes:
        crops: uint8 (N, S, S, 3), channels in the spec's order, not normalised; N >= 64.
        windows: int64 (W, frames), indices of crops; W >= 16.
        origin: what they are, in words.
        warnings: what a user should know of them.
    """

    crops: Pixels
    windows: NDArray[np.int64]
    origin: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClipWindows:
    """One clip's crops and windows over them.

    Attributes:
        crops: uint8 (N, S, S, 3), channels in the spec's order, not normalised.
        windows: int64 (W, frames), indices of crops.
        bare: no face was found; the whole picture was taken as a crop.
    """

    crops: Pixels
    windows: NDArray[np.int64]
    bare: bool


def make_crops(crop: CropSpec, clip: ClipSpec, calibration: Path | None) -> CropSet:
    """Gather crops for a model.

    Args:
        crop: how the model wants them.
        clip: how many make a window, and their rate.
        calibration: a clip, picture or ready crop, or a folder of them; None takes the photograph that
            matplotlib ships.
    Raises:
        InvalidInput: there is nothing usable in `calibration`.
        SourceError: a named file cannot be read.
        MissingDependency: the photograph is not there.
    """
    warnings: list[str] = []
    if calibration is None:
        picture = read_picture(photograph()).pixels
        strips = [_vary(picture, _face_in(picture, Haar()), crop, MIN_CROPS)]
        origin = "variations of matplotlib's photograph of Grace Hopper"
    else:
        strips, origin = _own(calibration, crop, clip, warnings)
    return CropSet(np.concatenate(strips), _windows([len(strip) for strip in strips], clip), origin, tuple(warnings))


def clip_windows(path: Path, crop: CropSpec, clip: ClipSpec) -> ClipWindows:
    """The crops of a clip's largest face, and windows over them; for a per-frame model also those of a picture.

    Args:
        path: a clip or a picture.
        crop: how the model wants crops.
        clip: how many make a window, and their rate.
    Raises:
        InvalidInput: it shows no face for long enough.
        SourceError: it cannot be read.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: is no file")
    _, make_finder = choose_finder("auto")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        if clip.frames > 1:
            raise InvalidInput(f"{path}: a picture is no clip of {clip.frames} frames")
        picture = read_picture(path).pixels
        height, width = picture.shape[:2]
        finder = make_finder()
        (faces,) = finder.find([Frame(0, 0.0, picture)])
        box = _face_in(picture, finder) or (0.0, 0.0, float(width), float(height))
        return ClipWindows(_cut(picture, [box], crop), np.zeros((1, 1), np.int64), bare=not faces)
    crops = _from_clip(path, crop, clip, make_finder(), clip.frames + _MORE_CROPS)
    if len(crops) < clip.frames or not len(crops):
        raise InvalidInput(f"{path}: a face in {len(crops)} frames, a window takes {clip.frames}")
    last = len(crops) - clip.frames
    starts = np.unique(np.linspace(0, last, _SPREAD_WINDOWS).round().astype(np.int64))
    return ClipWindows(crops, starts[:, None] + np.arange(clip.frames), bare=False)


def photograph() -> Path:
    """The public-domain photograph of Grace Hopper (US Navy) that matplotlib ships. Raises MissingDependency."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        raise MissingDependency("matplotlib is not installed. Try: pip install 'deepfake-edge[convert]'")
    path = Path(found.origin).parent / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    if not path.is_file():
        raise MissingDependency(f"{path}: this matplotlib lacks its photograph; give your own: --calibration PATH")
    return path


def _own(calibration: Path, crop: CropSpec, clip: ClipSpec, warnings: list[str]) -> tuple[list[Pixels], str]:
    clips, pictures = _listed(calibration)
    _, make_finder = choose_finder("auto")
    finder = make_finder()
    strips: list[Pixels] = []
    if clips:
        wanted = max(clip.frames + 2 * MIN_WINDOWS // len(clips), -(-MIN_CROPS // len(clips)))
        for path in clips:
            strip = _from_clip(path, crop, clip, finder, wanted)
            if len(strip) < min(clip.frames, 2):
                warnings.append(f"{path.name}: no face in it, left out of the parity check")
            else:
                strips.append(strip)
    bare = 0
    each = -(-MIN_CROPS // max(len(pictures), 1))
    for path in pictures:
        picture = read_picture(path).pixels
        face = _face_in(picture, finder)
        bare += face is None
        strips.append(_vary(picture, face, crop, each))
    if bare:
        warnings.append(f"{bare} of {len(pictures)} pictures show no face that could be found; taken as ready crops")
    if not strips:
        raise InvalidInput(f"calibration: no face in {calibration}; give clips, pictures or crops that show one")
    short = MIN_CROPS - sum(map(len, strips))
    if short > 0:
        strips.append(_vary_rgb(strips[0][0], crop, short))
    return strips, f"{len(clips)} clips and {len(pictures)} pictures of the user's own"


def _listed(calibration: Path) -> tuple[list[Path], list[Path]]:
    """Clips and pictures, at most as many as parity needs, spread evenly over a folder in name order."""
    if not calibration.exists():
        raise InvalidInput(f"calibration: {calibration} does not exist")
    files = [calibration]
    if calibration.is_dir():
        files = sorted(file for file in calibration.rglob("*") if file.is_file() and file.name[0] != ".")
    clips = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    pictures = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    if not clips and not pictures:
        raise InvalidInput(f"calibration: no clip or picture in {calibration}")
    return _spread(clips, _MAX_CLIPS), _spread(pictures, _MAX_PICTURES)


def _spread(files: list[Path], most: int) -> list[Path]:
    if len(files) <= most:
        return files
    return [files[round(place)] for place in np.linspace(0, len(files) - 1, most)]


def _from_clip(path: Path, crop: CropSpec, clip: ClipSpec, finder: FaceFinder, wanted: int) -> Pixels:
    """The crops of a clip's largest face, at the model's rate."""
    side = crop.size_px
    crops: list[Pixels] = []
    try:
        with open_source(path, clip.sample_fps or 25.0) as source:
            for frame in _sampled(islice(source.frames(), _SCANNED_FRAMES), clip.sample_fps):
                (faces,) = finder.find([frame])
                if faces:
                    box = max((face.box_xyxy for face in faces), key=_area)
                    crops.append(_cut(to_bgr(frame), [box], crop)[0])
                if len(crops) == wanted:
                    break
    except SourceError as error:
        raise SourceError(f"{path.name}: {error}") from error
    return np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)


def _sampled(frames: Iterator[Frame], fps: float | None) -> Iterator[Frame]:
    due = 0.0
    for frame in frames:
        # Half a millisecond of slack: containers round their timestamps.
        if fps is None or frame.time_s + 5e-4 >= due:
            due = max(due, frame.time_s - (1.0 / fps if fps else 0.0)) + (1.0 / fps if fps else 0.0)
            yield frame


def _face_in(picture: Pixels, finder: FaceFinder) -> Box | None:
    """The box of the largest face, unless the picture is a crop already."""
    (faces,) = finder.find([Frame(0, 0.0, picture)])
    if not faces:
        return None
    box = max((face.box_xyxy for face in faces), key=_area)
    height, width = picture.shape[:2]
    share = max((box[2] - box[0]) / width, (box[3] - box[1]) / height)
    return None if share >= _CROP_SHARE else box


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _vary(picture: Pixels, face: Box | None, crop: CropSpec, count: int) -> Pixels:
    height, width = picture.shape[:2]
    box = (0.0, 0.0, float(width), float(height)) if face is None else face
    return np.concatenate([_cut(varied, [moved], crop) for varied, moved in variations(picture, box, count)])


def _vary_rgb(finished: Pixels, crop: CropSpec, count: int) -> Pixels:
    picture = np.ascontiguousarray(finished[..., ::-1] if crop.channel_order == "rgb" else finished)
    return _vary(picture, None, crop, count)


def _cut(picture: Pixels, boxes: Sequence[Box], crop: CropSpec) -> Pixels:
    """Cut and resize as a device does, but leave the values as they are: uint8 (N, S, S, 3)."""
    plain = replace(crop, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    planes = crop_batch(picture, np.asarray(boxes, np.float32), plain)
    return np.ascontiguousarray(np.rint(planes).astype(np.uint8).transpose(0, 2, 3, 1))


def _windows(lengths: Sequence[int], clip: ClipSpec) -> NDArray[np.int64]:
    """Windows of crops that follow each other within a strip; a strip that is too short goes back and forth."""
    if clip.frames == 1:
        return np.arange(sum(lengths), dtype=np.int64)[:, None]
    each = -(-MIN_WINDOWS // len(lengths))
    rows = []
    first = 0
    for length in lengths:
        path = np.concatenate([np.arange(length), np.arange(length - 2, 0, -1)])
        last = max(length - clip.frames, 0)
        starts = np.linspace(0, last, each).round().astype(int) if last else np.arange(each)
        rows += [first + path[(start + np.arange(clip.frames)) % len(path)] for start in starts]
        first += length
    return np.stack(rows).astype(np.int64)
