"""A data set becomes a prepared folder: in parallel, taken up where it stopped, the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import Dataset
from deepfake_edge.training.preparing.one_clip import NO_FACE, Task, task_of
from deepfake_edge.training.preparing.prepared import CLIPS, ClipRecord, Prepared, read_prepared
from deepfake_edge.training.preparing.processes import prepare_all
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.store import clear, locked, remove_clip, start


def prepare(
    dataset: Dataset,
    folder: Path,
    settings: Settings,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Take face pictures of a data set's clips.

    A clip that a run before this one prepared, or in which it found no face, is not looked at again; one that could
    not be read is. Clips of other data sets may be in the folder.

    Args:
        dataset: what to prepare.
        folder: a new one, or one that was prepared with the same settings.
        settings: how pictures are taken.
        jobs: processes that share the work; the result does not depend on it.
        progress: told how many of how many clips are through.
    Returns:
        all that is in the folder.
    Raises:
        InvalidInput: the folder is something else, was prepared with other settings, or has somebody of this data set
            in another split; or another process prepares it now.
        MissingDependency: the face finder is not installed.
        InferenceError: it failed, or a process ended.
        OSError: the folder cannot be written.
    """
    if jobs < 1:
        raise InvalidInput(f"jobs: wanted at least 1, got {jobs}")
    start(folder, settings)
    with locked(folder):
        clear(folder)
        tasks = [task_of(entry, dataset.path(entry), folder) for entry in dataset.entries]
        before = read_prepared(folder)
        _check_splits(tasks, before, dataset.crossing)
        _forget_unreadable(tasks, before)
        missing = [task for task in tasks if not task.place.exists()]
        with closing(prepare_all(missing, settings, jobs)) as through:
            for done, _ in enumerate(through, len(tasks) - len(missing) + 1):
                if progress is not None:
                    progress(done, len(tasks))
        return read_prepared(folder)


def _check_splits(tasks: Sequence[Task], before: Prepared, crossing: bool) -> None:
    """Nobody is in one split by this run and in another by one before."""
    entries = {task.place.name: task.entry for task in tasks}
    splits = {(entry.dataset, name): entry.split for entry in entries.values() for name in entry.people}
    known: list[ClipRecord] = [*before.clips, *before.left_out]
    for clip in known:
        was, now = clip.entry, entries.get(clip.id)
        moved = now is not None and now.split != was.split
        if not moved and not crossing:
            moved = any(splits.get((was.dataset, name), was.split) != was.split for name in was.people)
        if moved:
            raise InvalidInput(
                f"{before.folder}: has {was.source} in {was.split}, and now somebody in it would be in another "
                "split; read the data set as before, or prepare into a new folder"
            )


def _forget_unreadable(tasks: Sequence[Task], before: Prepared) -> None:
    """Whatever kept a clip from being read may be gone; a file that was replaced has another id by now."""
    sources = {(task.entry.dataset, task.entry.source) for task in tasks}
    for clip in before.left_out:
        if clip.reason != NO_FACE and (clip.entry.dataset, clip.entry.source) in sources:
            remove_clip(before.folder / CLIPS / clip.id)
