"""One clip becomes a clip of a prepared folder, or is left out with its reason."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from deepfake_edge.choices import open_source
from deepfake_edge.data import Frame
from deepfake_edge.errors import SourceError
from deepfake_edge.pixels import to_bgr
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.training.datasets.entries import ClipEntry
from deepfake_edge.training.preparing.face_picture import FacePicture, cut_face_picture
from deepfake_edge.training.preparing.main_face import Sighting, Watch
from deepfake_edge.training.preparing.prepared import CLIPS, RECORD, LeftOut, PreparedClip
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.store import write_clip

NO_FACE = "no face was found"
_PICTURES_FPS = 25.0
_NAME_LETTERS = 60


@dataclass(frozen=True, slots=True)
class Task:
    """A clip that is to be prepared.

    Attributes:
        entry: what the data set says of it.
        path: its file.
        place: the clip's folder in the prepared folder; does not exist yet.
        written_ns: when its file was written.
    """

    entry: ClipEntry
    path: Path
    place: Path
    written_ns: int


def task_of(entry: ClipEntry, path: Path, prepared: Path) -> Task:
    """The task of a clip; its place is named after the data set, the file, and a digest of both and the file's size."""
    file = path.stat()
    known = f"{entry.dataset}/{entry.source}/{file.st_size}"
    digest = hashlib.sha256(known.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    name = f"{entry.dataset}-{entry.manipulation or entry.label}-{path.stem}"
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:_NAME_LETTERS]
    return Task(entry, path, prepared / CLIPS / f"{readable}-{digest}", file.st_mtime_ns)


def prepare_clip(task: Task, settings: Settings, finder: FaceFinder) -> PreparedClip | LeftOut:
    """Find the main face, cut its pictures, write them.

    Raises:
        InferenceError: the finder failed.
        OSError: they cannot be written.
    """
    try:
        sightings = _watch(task.path, settings, finder).sightings(settings)
        pictures = _cut(task.path, sightings, settings)
    except SourceError as error:
        return _leave_out(task, _reason(task, error))
    if not pictures:
        return _leave_out(task, NO_FACE)
    clip = PreparedClip(
        task.entry,
        task.place,
        times_s=tuple(sighting.time_s for sighting in sightings),
        boxes=tuple(picture.box for picture in pictures),
        seen=tuple(sighting.seen for sighting in sightings),
        landmarks=tuple(picture.landmarks for picture in pictures),
    )
    _write(task, clip, pictures)
    return clip


def _watch(path: Path, settings: Settings, finder: FaceFinder) -> Watch:
    watch = Watch()
    with closing(_frames(path)) as frames:
        for frame in frames:
            if settings.seconds is not None and frame.time_s >= settings.seconds:
                break
            watch.look(frame, finder)
    return watch


def _cut(path: Path, sightings: Sequence[Sighting], settings: Settings) -> list[FacePicture]:
    """Decode once more, up to the last frame that is wanted; frames are too large to keep them all."""
    pictures: list[FacePicture] = []
    if not sightings:
        return pictures
    with closing(_frames(path)) as frames:
        for place, frame in enumerate(frames):
            while len(pictures) < len(sightings) and sightings[len(pictures)].frame == place:
                face = sightings[len(pictures)].face
                pictures.append(cut_face_picture(to_bgr(frame), face.box_xyxy, face.landmarks, settings.most_px))
            if len(pictures) == len(sightings):
                return pictures
    raise SourceError(f"{path}: has fewer frames than a moment ago; it was changed while it was read")


def _frames(path: Path) -> Generator[Frame, None, None]:
    with open_source(path, _PICTURES_FPS) as source:
        yield from source.frames()


def _reason(task: Task, error: SourceError) -> str:
    """What is wrong with a clip, without the place of its data set: records do not depend on it."""
    reason = str(error)
    # The whole path first: the one that was given may be the end of it.
    for path in (os.path.abspath(task.path), str(task.path)):
        for shown in (str, repr, ascii):
            source = shown(task.entry.source)
            reason = reason.replace(shown(path), source).removeprefix(f"{source}: ")
    return reason


def _leave_out(task: Task, reason: str) -> LeftOut:
    left_out = LeftOut(task.entry, task.place, reason)
    _write(task, left_out)
    return left_out


def _write(task: Task, clip: PreparedClip | LeftOut, pictures: Sequence[FacePicture] = ()) -> None:
    """The record's time is the file's, by which a newer file is known; its bytes are the same on every machine."""
    write_clip(clip, [picture.pixels for picture in pictures])
    os.utime(task.place / RECORD, ns=(task.written_ns, task.written_ns))
