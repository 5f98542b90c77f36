"""The processes that prepare clips side by side."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection

from deepfake_edge.choices import choose_finder
from deepfake_edge.errors import InferenceError
from deepfake_edge.optional import require
from deepfake_edge.protocols import FaceFinder
from deepfake_edge.training.preparing.one_clip import Task, prepare_clip
from deepfake_edge.training.preparing.prepared import LeftOut, PreparedClip
from deepfake_edge.training.preparing.settings import Settings

cv2 = require("cv2")


def prepare_all(tasks: Sequence[Task], settings: Settings, jobs: int) -> Generator[PreparedClip | LeftOut, None, None]:
    """Prepare clips, in any order; yield each that is through. One job stays in this process.

    Raises:
        MissingDependency: the face finder is not installed.
        InferenceError: it failed, or a process ended.
        OSError: a clip cannot be written.
    """
    # Whatever is wrong with it is said once, and by this process.
    finder = choose_finder(settings.finder)[1]()
    if jobs > 1 and len(tasks) > 1:
        yield from _side_by_side(tasks, settings, min(jobs, len(tasks)))
        return
    with _one_thread():
        for task in tasks:
            yield prepare_clip(task, settings, finder)


def _side_by_side(tasks: Sequence[Task], settings: Settings, jobs: int) -> Iterator[PreparedClip | LeftOut]:
    others = set(multiprocessing.active_children())
    # A forked process would share OpenCV's threads, which did not come along.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (settings,))
    try:
        for future in as_completed([pool.submit(_prepare, task) for task in tasks]):
            yield future.result()
    except BrokenProcessPool:
        raise InferenceError(
            "prepare: one of its processes ended before its clip was through (is there enough memory?); "
            "run the same again with fewer --jobs: only what is missing is done"
        ) from None
    except BaseException:
        # Whoever stops it does not wait for the clips at hand.
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_at_work: tuple[Settings, FaceFinder] | None = None


def _begin(settings: Settings) -> None:
    global _at_work
    # Ctrl-C reaches every process of a terminal; the first one sees to the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    _at_work = (settings, choose_finder(settings.finder)[1]())


def _prepare(task: Task) -> PreparedClip | LeftOut:
    assert _at_work is not None
    return prepare_clip(task, *_at_work)


def _end_with_parent() -> None:
    """A process whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
