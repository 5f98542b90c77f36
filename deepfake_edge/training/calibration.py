"""The user's own faces in two parts that share nothing: one to calibrate lower precisions on, one to judge them by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfake_edge.choices import choose_finder
from deepfake_edge.data import Pixels
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ClipSpec, CropSpec
from deepfake_edge.training.face_crops import MIN_CROPS, CropSet, windows_over
from deepfake_edge.training.footage import list_footage, spread, varied_again
from deepfake_edge.training.parts import MOST_CALIBRATING, MOST_WINDOWS, Parts, Task, part_files
from deepfake_edge.training.progress import Progress

ENOUGH = 200


@dataclass(frozen=True, slots=True)
class Split:
    """Crops of the user's own, in two parts.

    Attributes:
        calibration: real crops, at most 512; a window is one crop, or a whole clip for a fused clip network.
        held_out: crops and windows of other files, or of later parts of the same clips, to judge by; none of its
            crops is in `calibration`.
        warnings: what a user should know of them.
    """

    calibration: CropSet
    held_out: CropSet
    warnings: tuple[str, ...]


def make_split(
    crop: CropSpec,
    clip: ClipSpec,
    calibration: Path | None,
    *,
    fused: bool = False,
    progress: Progress | None = None,
) -> Split:
    """Gather crops to calibrate on and crops to judge by; the same files always give the same. See `parts`.

    Only what is held out is ever varied: for windows of pictures, and where there are fewer than MIN_CROPS crops.

    Args:
        crop: how the model wants crops.
        clip: how many make a window, and their rate.
        calibration: a clip, or a folder of clips, pictures and ready crops.
        fused: the network takes whole clips, so it is calibrated on clips.
        progress: is told now and then how far it is.
    Raises:
        InvalidInput: there is no calibration data, or too little to hold any of it out.
        SourceError: the one file that is named cannot be read.
    """
    if calibration is None:
        raise InvalidInput(
            "int8: needs real face crops: --calibration PATH (a clip, or a folder of clips, pictures or ready crops "
            f"like those that the model will see; {ENOUGH} faces or more)"
        )
    clips, pictures = list_footage(calibration)
    _, make_finder = choose_finder("auto")
    task = Task(crop, clip, fused, make_finder(), calibration.is_file(), progress)
    parts = part_files(task, clips, pictures)
    if not parts.calibrating or not parts.held_out:
        why = "".join(f"; {warning}" for warning in parts.all_warnings())
        raise InvalidInput(
            f"calibration: {calibration} is too little to calibrate on one part and judge by the other; give 3 or more "
            f"clips or pictures that show a face, or a longer clip{why}"
        )
    held_out = _held_out(task, parts)
    chosen = _calibration(task, parts, held_out)
    warnings = (*parts.all_warnings(), *held_out.warnings, *chosen.warnings)
    return Split(chosen, held_out, warnings)


def _held_out(task: Task, parts: Parts) -> CropSet:
    strips = list(parts.held_out)
    real = sum(map(len, strips))
    origin = f"{' and '.join(parts.held_are)} of the user's own, held out from calibration"
    if real < MIN_CROPS:
        strips.append(varied_again(strips[0][0], task.crop, MIN_CROPS - real))
        origin += f", and {MIN_CROPS - real} variations of one of their crops"
    windows = np.unique(windows_over([len(strip) for strip in strips], task.clip, MOST_WINDOWS), axis=0)
    warnings = []
    count = int((windows < real).all(axis=1).sum())
    if count < ENOUGH:
        warnings.append(
            f"lower precisions are judged by {count} held-out windows, wanted {ENOUGH}: give more or longer clips"
        )
    return CropSet(np.concatenate(strips), windows, origin, tuple(warnings))


def _calibration(task: Task, parts: Parts, held_out: CropSet) -> CropSet:
    """No two windows are alike, and none shares a crop with what is held out."""
    held = set(map(_mark, held_out.crops))
    frames = task.together
    found: dict[tuple[bytes, ...], Pixels] = {}
    for strip in parts.calibrating:
        for start in range(0, len(strip) - frames + 1, frames):
            window = strip[start : start + frames]
            marks = tuple(map(_mark, window))
            if held.isdisjoint(marks):
                found.setdefault(marks, window)
    if not found:
        raise InvalidInput(
            "calibration: all crops to calibrate on are held out as well; give different clips or pictures"
        )
    crops = np.concatenate(spread(list(found.values()), max(1, MOST_CALIBRATING // frames)))
    warnings = []
    if len(crops) < ENOUGH:
        warnings.append(
            f"lower precisions are calibrated on {len(crops)} crops, wanted at least {ENOUGH}: ranges may be too "
            "narrow; give more or longer clips, or more pictures"
        )
    windows = np.arange(len(crops), dtype=np.int64).reshape(-1, frames)
    return CropSet(crops, windows, "real crops of the user's own", tuple(warnings))


def _mark(crop: Pixels) -> bytes:
    return hashlib.sha256(crop.tobytes()).digest()
