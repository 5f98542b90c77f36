"""CUDA graphs: work that is recorded once and launched in one call. No binding that is used here has all of it."""

from __future__ import annotations

import ctypes
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deepfake_edge.cuda.context import Context, Resource
from deepfake_edge.cuda.memory import Stream
from deepfake_edge.errors import DeviceLost, InferenceError

# Other threads may allocate memory meanwhile.
_THREAD_LOCAL = 1
_log = logging.getLogger(__name__)


class Graph(Resource):
    """Recorded work. It holds to the addresses that it was recorded with: these have to stay."""

    def __init__(self, context: Context, executable: ctypes.c_void_p) -> None:
        super().__init__(context, lambda: context.driver.call("cuGraphExecDestroy", executable))
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        """Put the work on a stream. Raises InferenceError."""
        self._check()
        self._context.call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))


def capture(context: Context, stream: Stream, work: Callable[[], None]) -> Graph | None:
    """Record what `work` puts on a stream, which it does not run.

    Args:
        context: current in this thread.
        stream: nothing stands on it.
        work: calls that put work on the stream, and none that waits or allocates.
    Returns:
        None where the driver refuses to record it, or `work` raises InferenceError; the stream can be used again then.
    Raises:
        DeviceLost: the context does not work any more.
    """
    try:
        return Graph(context, _instantiate(context, _record(context, stream, work)))
    except DeviceLost:
        raise
    except InferenceError as error:
        # A handler that keeps its records would keep the frames of an error, and what they hold on the device.
        _log.info("no CUDA graph: %s", str(error))
        return None


def _record(context: Context, stream: Stream, work: Callable[[], None]) -> ctypes.c_void_p:
    with _no_collection():
        context.call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream.handle), _THREAD_LOCAL)
        try:
            work()
        except BaseException:
            _abandon(context, stream)
            raise
        graph = ctypes.c_void_p()
        context.call("cuStreamEndCapture", ctypes.c_void_p(stream.handle), ctypes.byref(graph))
    return graph


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's collector from freeing device memory in this thread meanwhile: that would end the recording."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _abandon(context: Context, stream: Stream) -> None:
    """End a recording that failed. The driver says once more that it did, which needs no second message."""
    graph = ctypes.c_void_p()
    try:
        context.call("cuStreamEndCapture", ctypes.c_void_p(stream.handle), ctypes.byref(graph))
    except InferenceError as error:
        _log.debug("the recording ends: %s", str(error))
    else:
        context.call("cuGraphDestroy", graph)


def _instantiate(context: Context, graph: ctypes.c_void_p) -> ctypes.c_void_p:
    executable = ctypes.c_void_p()
    try:
        context.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
    finally:
        context.call("cuGraphDestroy", graph)
    return executable
