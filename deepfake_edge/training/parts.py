"""Strips of crops out of the user's own clips and pictures, in two parts that share no file, or no time of a clip.

A *strip* is a row of crops that follow each other, as in `face_crops`. Of those that calibrate each crop stands alone,
unless the network takes whole clips.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepfake_edge.data import Pixels
from deepfake_edge.errors import SourceError
from deepfake_edge.pictures import read_picture
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.spec import ClipSpec, CropSpec
from deepfake_edge.training.face_crops import MIN_WINDOWS
from deepfake_edge.training.footage import clip_crops, face_in, picture_crop, spread, spread_crops, varied_crops
from deepfake_edge.training.progress import Progress, told

MOST_CALIBRATING, MOST_WINDOWS = 512, 256
_MOST_HELD, _MOST_CLIPS = 512, 128
# A clip model's windows are made of variations of this many held-out pictures, where no clip is held out.
_MOST_VARIED = 32
# Crops between the two parts of one clip, at least: half a second at 25 a second.
_LEAST_GAP = 12
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Task:
    """What is wanted of the files, and what looks for faces.

    Attributes:
        crop: how the model wants crops.
        clip: how many make a window, and their rate.
        fused: the network takes whole clips.
        finder: finds faces.
        alone: one file was named, so it must be readable.
        progress: is told now and then how far it is.
    """

    crop: CropSpec
    clip: ClipSpec
    fused: bool
    finder: FaceFinder
    alone: bool
    progress: Progress | None

    @property
    def together(self) -> int:
        """Crops that calibrate together."""
        return self.clip.frames if self.fused else 1


@dataclass(slots=True)
class Parts:
    """The two parts.

    Attributes:
        calibrating: strips to calibrate on.
        held_out: strips to judge by.
        held_are: what these are, in words.
        unreadable: names of files that were left out because they cannot be read.
        short: names of files that were left out because too few frames show a face.
        warnings: what else a user should know.
    """

    calibrating: list[Pixels] = field(default_factory=list)
    held_out: list[Pixels] = field(default_factory=list)
    held_are: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def all_warnings(self) -> list[str]:
        """What a user should know, with the files that were left out."""
        told_of = ((self.unreadable, "cannot be read"), (self.short, "too few frames with a face"))
        return [*(f"left out, {why}: {_listed(names)}" for names, why in told_of if names), *self.warnings]


def part_files(task: Task, clips: Sequence[Path], pictures: Sequence[Path]) -> Parts:
    """Gather strips of both parts.

    Of three or more clips, and of pictures, every third is held out, in the order of their names. Of fewer clips, or
    where those that are held out give too few windows, the first part of each calibrates and the last is held out.

    Raises:
        SourceError: the one file that is named cannot be read.
    """
    parts = _by_clip(task, clips)
    if pictures and task.fused:
        parts.warnings.append(f"{len(pictures)} pictures are left out: this network takes clips")
    elif pictures:
        _add_pictures(task, pictures, parts)
    return parts


def _by_clip(task: Task, clips: Sequence[Path]) -> Parts:
    if len(clips) >= 3:
        parts = _every_third(task, clips)
        windows = sum(len(strip) - task.clip.frames + 1 for strip in parts.held_out)
        if parts.calibrating and windows >= MIN_WINDOWS:
            return parts
    return _within(task, spread(clips, _MOST_CLIPS)) if clips else Parts()


def _every_third(task: Task, clips: Sequence[Path]) -> Parts:
    before = task.clip.frames - 1
    ours, others = _parted(clips)
    ours = spread(ours, _MOST_CLIPS)
    others = spread(others, max(1, (_MOST_HELD - MOST_WINDOWS) // before) if before else _MOST_CLIPS)
    each = max(-(-MOST_CALIBRATING // len(ours)), task.together)
    judged = before - (-MOST_WINDOWS // len(others))
    parts = Parts()

    def ours_of(path: Path) -> Pixels:
        if task.fused:
            return clip_crops(path, task.crop, task.clip, task.finder, each)
        return spread_crops(path, task.crop, task.finder, each)

    def others_of(path: Path) -> Pixels:
        return clip_crops(path, task.crop, task.clip, task.finder, judged)

    parts.calibrating = _strips(task, ours, ours_of, task.together, parts)
    parts.held_out = _strips(task, others, others_of, before + 1, parts)
    parts.held_are = [f"{len(parts.held_out)} clips"]
    return parts


def _within(task: Task, clips: Sequence[Path]) -> Parts:
    """The last part of each clip gives as many windows as the first has crops."""
    frames = task.clip.frames
    lost = max(frames, _LEAST_GAP) + frames - 1
    each = max(-(-MOST_WINDOWS // len(clips)), task.together)
    parts = Parts()

    def whole(path: Path) -> Pixels:
        return clip_crops(path, task.crop, task.clip, task.finder, 2 * each + lost)

    for strip in _strips(task, clips, whole, lost + 2 * task.together, parts):
        share = (len(strip) - lost) // 2
        parts.calibrating.append(strip[:share])
        parts.held_out.append(strip[len(strip) - share - frames + 1 :])
    if parts.held_out:
        parts.held_are = [f"the last parts of {len(parts.held_out)} clips"]
    return parts


def _add_pictures(task: Task, pictures: Sequence[Path], parts: Parts) -> None:
    ours, others = _parted(pictures)
    per_frame = task.clip.frames == 1
    ours = spread(ours, MOST_CALIBRATING)
    others = spread(others, MOST_WINDOWS if per_frame else _MOST_VARIED)
    bare: list[Path] = []

    def crops_of(path: Path, variations: int) -> Pixels:
        picture = read_picture(path).pixels
        face = face_in(picture, task.finder)
        if face is None:
            bare.append(path)
        if variations:
            return varied_crops(picture, face, task.crop, variations)
        return picture_crop(picture, face, task.crop)

    parts.calibrating += _strips(task, ours, lambda path: crops_of(path, 0), 1, parts)
    if per_frame or not parts.held_out:
        each = 0 if per_frame else -(-MOST_WINDOWS // max(len(others), 1))
        strips = _strips(task, others, lambda path: crops_of(path, each), 1, parts)
        parts.held_out += strips
        if strips:
            parts.held_are.append(f"{'' if per_frame else 'variations of '}{len(strips)} pictures")
        if strips and not per_frame:
            parts.warnings.append(
                "lower precisions are judged by variations of pictures: no clip is long enough to be held out"
            )
    if bare:
        parts.warnings.append(f"{len(bare)} pictures show no face that could be found; taken as ready crops")


def _parted(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Those that calibrate; and every third, of two the second, that is held out."""
    if len(files) < 3:
        return list(files[:1]), list(files[1:])
    return [file for place, file in enumerate(files) if place % 3 != 2], list(files[2::3])


def _strips(
    task: Task, files: Sequence[Path], take: Callable[[Path], Pixels], least: int, parts: Parts
) -> list[Pixels]:
    """What is taken of each file; those that cannot be read or give fewer than `least` crops are left out."""
    strips = []
    for path in told(files, "finding faces", task.progress):
        try:
            strip = take(path)
        except SourceError:
            if task.alone:
                raise
            parts.unreadable.append(path.name)
            continue
        if len(strip) < least:
            parts.short.append(path.name)
        else:
            strips.append(strip)
    return strips


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
