"""Face crops and windows to prove parity on: from the user's own clips and pictures, else from a photograph.

Crops go through the same native preprocessing as on a device. A *strip* is a row of crops that follow each other:
a clip's, or smooth variations of one picture.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.choices import choose_finder
from deepfake_edge.containers import IMAGE_SUFFIXES
from deepfake_edge.data import Frame, Pixels
from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.faces.haar import Haar
from deepfake_edge.pictures import read_picture
from deepfake_edge.spec import ClipSpec, CropSpec
from deepfake_edge.training.footage import (
    clip_crops,
    face_in,
    list_footage,
    picture_crop,
    spread,
    varied_again,
    varied_crops,
)

MIN_CROPS, MIN_WINDOWS = 64, 16
_MAX_CLIPS, _MAX_PICTURES = 6, 24
# Of a labelled clip: crops beyond the first window, and windows over all of them.
_MORE_CROPS, _SPREAD_WINDOWS = 31, 8


@dataclass(frozen=True, slots=True)
class CropSet:
    """Crops and the windows over them.

    Attributes:
        crops: uint8 (N, S, S, 3), channels in the spec's order, not normalised.
        windows: int64 (W, frames), indices of crops.
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
    """Gather crops for a model: at least MIN_CROPS, and MIN_WINDOWS windows.

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
        strips = [varied_crops(picture, face_in(picture, Haar()), crop, MIN_CROPS)]
        origin = "variations of matplotlib's photograph of Grace Hopper"
    else:
        strips, origin = _own(calibration, crop, clip, warnings)
    windows = windows_over([len(strip) for strip in strips], clip, MIN_WINDOWS)
    return CropSet(np.concatenate(strips), windows, origin, tuple(warnings))


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
        finder = make_finder()
        (faces,) = finder.find([Frame(0, 0.0, picture)])
        crops = picture_crop(picture, face_in(picture, finder), crop)
        return ClipWindows(crops, np.zeros((1, 1), np.int64), bare=not faces)
    crops = clip_crops(path, crop, clip, make_finder(), clip.frames + _MORE_CROPS)
    if len(crops) < clip.frames or not len(crops):
        raise InvalidInput(f"{path}: a face in {len(crops)} frames, a window takes {clip.frames}")
    last = len(crops) - clip.frames
    starts = np.unique(np.linspace(0, last, _SPREAD_WINDOWS).round().astype(np.int64))
    return ClipWindows(crops, starts[:, None] + np.arange(clip.frames), bare=False)


def windows_over(lengths: Sequence[int], clip: ClipSpec, count: int) -> NDArray[np.int64]:
    """Windows of crops that follow each other within a strip; a strip that is too short goes back and forth.

    Args:
        lengths: crops in each strip; strips stand one after another.
        clip: how many crops make a window.
        count: how many windows are wanted of all strips together; some may be alike where strips are short. A
            per-frame model has one of each crop.
    Returns:
        int64 (W, frames), indices of crops.
    """
    if clip.frames == 1:
        return np.arange(sum(lengths), dtype=np.int64)[:, None]
    each = -(-count // len(lengths))
    rows = []
    first = 0
    for length in lengths:
        path = np.concatenate([np.arange(length), np.arange(length - 2, 0, -1)])
        last = max(length - clip.frames, 0)
        starts = np.linspace(0, last, each).round().astype(int) if last else np.arange(each)
        rows += [first + path[(start + np.arange(clip.frames)) % len(path)] for start in starts]
        first += length
    return np.stack(rows).astype(np.int64)


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
    clips, pictures = list_footage(calibration)
    clips, pictures = spread(clips, _MAX_CLIPS), spread(pictures, _MAX_PICTURES)
    _, make_finder = choose_finder("auto")
    finder = make_finder()
    strips: list[Pixels] = []
    if clips:
        wanted = max(clip.frames + 2 * MIN_WINDOWS // len(clips), -(-MIN_CROPS // len(clips)))
        for path in clips:
            strip = clip_crops(path, crop, clip, finder, wanted)
            if len(strip) < min(clip.frames, 2):
                warnings.append(f"{path.name}: no face in it, left out of the parity check")
            else:
                strips.append(strip)
    bare = 0
    each = -(-MIN_CROPS // max(len(pictures), 1))
    for path in pictures:
        picture = read_picture(path).pixels
        face = face_in(picture, finder)
        bare += face is None
        strips.append(varied_crops(picture, face, crop, each))
    if bare:
        warnings.append(f"{bare} of {len(pictures)} pictures show no face that could be found; taken as ready crops")
    if not strips:
        raise InvalidInput(f"calibration: no face in {calibration}; give clips, pictures or crops that show one")
    short = MIN_CROPS - sum(map(len, strips))
    if short > 0:
        strips.append(varied_again(strips[0][0], crop, short))
    return strips, f"{len(clips)} clips and {len(pictures)} pictures of the user's own"
