"""A data set becomes a prepared folder: in parallel, taken up where it stopped, the same bytes each time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import Dataset
from deepfake_edge.training.preparing.one_clip import NO_FACE, Task, task_of
from deepfake_edge.training.preparing.prepared import RECORD, LeftOut, Prepared, read_prepared
from deepfake_edge.training.preparing.processes import prepare_all
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.store import clear, locked, remove_clip, start

logger = logging.getLogger(__name__)


def prepare(
    dataset: Dataset,
    folder: Path,
    settings: Settings,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Take face pictures of a data set's clips.

    A clip that a run before this one prepared, or in which it found no face, is not looked at again; one that could
    not be read, whose file was written since, or of which the data set says something else by now, is. Clips of other
    data sets may be in the folder.

    Args:
        dataset: what to prepare.
        folder: a new one, or one that was prepared with the same settings.
        settings: how pictures are taken.
        jobs: processes that share the work; the result does not depend on it.
        progress: told how many of how many clips are through.
    Returns:
        all that is in the folder.
    Raises:
        InvalidInput: the folder is something else, lies among the clips, was prepared with other settings, or has
            somebody of this data set in another split; or another process prepares it now.
        MissingDependency: the face finder is not installed.
        InferenceError: it failed, or a process ended.
        OSError: the folder cannot be written.
    """
    if jobs < 1:
        raise InvalidInput(f"jobs: wanted at least 1, got {jobs}")
    _check_apart(dataset, folder)
    start(folder, settings)
    with locked(folder):
        clear(folder)
        tasks = [task_of(entry, dataset.path(entry), folder) for entry in dataset.entries]
        before = read_prepared(folder)
        _check_splits(tasks, before, dataset.crossing)
        _forget_outdated(tasks, before)
        missing = [task for task in tasks if not task.place.exists()]
        with closing(prepare_all(missing, settings, jobs)) as through:
            for done, _ in enumerate(through, len(tasks) - len(missing) + 1):
                if progress is not None:
                    progress(done, len(tasks))
        return read_prepared(folder)


def _check_apart(dataset: Dataset, folder: Path) -> None:
    """Among the clips, face pictures would be clips of the next run."""
    place = folder.resolve()
    for top in {dataset.folder / entry.source.partition("/")[0] for entry in dataset.entries}:
        if place.is_relative_to(top.resolve()):
            raise InvalidInput(f"{folder}: lies in {top}, where clips are looked for; name a folder elsewhere")


def _check_splits(tasks: Sequence[Task], before: Prepared, crossing: bool) -> None:
    """Nobody is in one split by this run and in another by one before."""
    entries = {task.place.name: task.entry for task in tasks}
    splits = {(entry.dataset, name): entry.split for entry in entries.values() for name in entry.people}
    for clip in before.records:
        was, now = clip.entry, entries.get(clip.id)
        moved = now is not None and now.split != was.split
        if not moved and not crossing:
            moved = any(splits.get((was.dataset, name), was.split) != was.split for name in was.people)
        if moved:
            raise InvalidInput(
                f"{before.folder}: has {was.source} in {was.split}, and now somebody in it would be in another "
                "split; read the data set as before, or prepare into a new folder"
            )


def _forget_outdated(tasks: Sequence[Task], before: Prepared) -> None:
    """Remove what is known of clips that are other ones by now, and of those that could not be read."""
    now = {(task.entry.dataset, task.entry.source): task for task in tasks}
    replaced: list[str] = []
    for clip in before.records:
        task = now.get((clip.entry.dataset, clip.entry.source))
        if task is None:
            continue
        unreadable = isinstance(clip, LeftOut) and clip.reason != NO_FACE
        newer = task.written_ns > (clip.folder / RECORD).stat().st_mtime_ns
        if newer or unreadable or (clip.id, clip.entry) != (task.place.name, task.entry):
            remove_clip(clip.folder)
            replaced += [] if unreadable else [clip.entry.source]
    if replaced:
        logger.warning("clips that are other ones than before, done again: %d, such as %s", len(replaced), replaced[0])
