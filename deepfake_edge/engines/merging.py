"""Calls of several threads become one batch where everything that could compute them is busy."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from deepfake_edge.errors import DeviceLost, InferenceError

_log = logging.getLogger(__name__)


class Closable(Protocol):
    """What computes: one thread at a time uses it."""

    def close(self) -> None: ...


LaneT = TypeVar("LaneT", bound=Closable)
GivenT = TypeVar("GivenT")
GotT = TypeVar("GotT")


@dataclass(eq=False, slots=True)
class _Piece(Generic[GivenT, GotT]):
    """Rows that wait, are computed, or have been."""

    rows: int
    given: GivenT
    got: GotT | None = None
    error: Exception | None = None
    done: bool = False


class Merger(Generic[LaneT, GivenT, GotT]):
    """Runs calls on a few lanes; what finds all of them busy waits, and is computed together.

    The thread whose rows have waited longest takes the next free lane, and with its own rows all that wait behind
    them, in order, as far as they fit. There are no timers and no threads of its own, and nobody overtakes.

    Args:
        first: the first lane; `close` closes it.
        make: makes one more, when it is first needed; where it raises InferenceError the work goes on with those that
            there are. DeviceLost is raised to the caller.
        compute: computes what was given on a lane, and returns as many results in the same order.
        lanes: how many there may be, 1 or more.
        rows: how many fit into one batch.
        name: what to call it in messages.
    """

    def __init__(
        self,
        first: LaneT,
        make: Callable[[], LaneT],
        compute: Callable[[LaneT, Sequence[GivenT]], Sequence[GotT]],
        *,
        lanes: int,
        rows: int,
        name: str,
    ) -> None:
        self._free = [first]
        self._make = make
        self._compute = compute
        self._more = lanes - 1
        self._rows = rows
        self._name = name
        self._waiting: deque[_Piece[GivenT, GotT]] = deque()
        self._changed = threading.Condition()
        self._calls = 0
        self._closed = False

    def run(self, pieces: Sequence[tuple[int, GivenT]]) -> list[GotT]:
        """Compute pieces one after the other; others' may come between them.

        Args:
            pieces: (rows, what is given), with 1 to `rows` rows. One of `rows` rows is computed alone.
        Raises:
            InferenceError: it is closed.
            Exception: whatever `compute` raises; so does every other call whose rows were in that batch.
        """
        with self._changed:
            if self._closed:
                raise InferenceError(f"{self._name}: is closed")
            self._calls += 1
        try:
            return [self._run(_Piece(rows, given)) for rows, given in pieces]
        finally:
            with self._changed:
                self._calls -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let the calls that have begun end, refuse others, close the lanes; may be called twice."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._calls)
            lanes, self._free = self._free, []
        with ExitStack() as stack:
            for lane in lanes:
                stack.callback(lane.close)

    def _run(self, piece: _Piece[GivenT, GotT]) -> GotT:
        turn = self._wait(piece)
        if turn is not None:
            self._lead(*turn)
        if piece.error is not None:
            raise piece.error
        return piece.got  # type: ignore[return-value]

    def _wait(self, piece: _Piece[GivenT, GotT]) -> tuple[LaneT, list[_Piece[GivenT, GotT]]] | None:
        """Wait until another thread has computed it; or for a lane, and the batch to compute on it."""
        with self._changed:
            self._waiting.append(piece)
            try:
                while not piece.done:
                    if self._waiting and self._waiting[0] is piece and (lane := self._lane()) is not None:
                        return lane, self._take()
                    self._changed.wait()
            except BaseException:
                if piece in self._waiting:
                    self._waiting.remove(piece)
                    self._changed.notify_all()
                raise
        return None

    def _lane(self) -> LaneT | None:
        if self._free:
            return self._free.pop()
        if self._more:
            self._more -= 1
            try:
                return self._make()
            except DeviceLost:
                raise
            except InferenceError as error:
                self._more = 0
                # As text: whoever keeps the record shall not keep what the error's traceback holds.
                _log.warning("%s: goes on with fewer batches at a time: %s", self._name, str(error))
        return None

    def _take(self) -> list[_Piece[GivenT, GotT]]:
        taken = [self._waiting.popleft()]
        rows = taken[0].rows
        while self._waiting and rows + self._waiting[0].rows <= self._rows:
            taken.append(self._waiting.popleft())
            rows += taken[-1].rows
        # Another lane may be free for whoever is first now.
        self._changed.notify_all()
        return taken

    def _lead(self, lane: LaneT, batch: Sequence[_Piece[GivenT, GotT]]) -> None:
        """Compute a batch whose first piece is this thread's own."""
        try:
            for piece, got in zip(batch, self._compute(lane, [piece.given for piece in batch]), strict=True):
                piece.got = got
        except Exception as error:  # noqa: BLE001 - it is raised by each thread whose rows these are
            for piece in batch:
                piece.error = error
        except BaseException:
            # This thread is interrupted, the others are not: they take the next lane.
            with self._changed:
                self._waiting.extendleft(reversed(batch[1:]))
            batch = batch[:1]
            raise
        finally:
            with self._changed:
                self._free.append(lane)
                for piece in batch:
                    piece.done = True
                self._changed.notify_all()
