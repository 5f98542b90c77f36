"""Where a run stands, and the file that brings it back there."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.errors import InvalidInput

_STATE = "state"


@dataclass(slots=True)
class State:
    """Where a run stands.

    Attributes:
        stage: 0-based.
        epoch: of the stage, 0-based.
        step: of the epoch, 0-based: the next one.
        loss: sum over the epoch's steps so far.
        best: AUC and negative loss of the epoch that is taken, what is watched first; None before one. `frames` has its
            own.
        waited: epochs without a better one.
        spent_s: in all processes of the run.
        history: a row an epoch.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    loss: float = 0.0
    best: list[float] | None = None
    waited: int = 0
    spent_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)


def pack_state(state: State, variables: Sequence[Any]) -> bytes:
    """A state and the values of Keras variables as one file's bytes."""
    arrays: dict[str, Any] = {f"{place:05d}": variable.numpy() for place, variable in enumerate(variables)}
    arrays[_STATE] = np.frombuffer(json.dumps(asdict(state)).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def read_state(path: Path) -> State:
    """The state of a checkpoint. Raises InvalidInput."""
    with _opened(path) as archive:
        try:
            return State(**json.loads(archive[_STATE].tobytes()))
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from error


def load_variables(path: Path, variables: Sequence[Any]) -> None:
    """Give Keras variables the values that a checkpoint has for them. Raises InvalidInput."""
    with _opened(path) as archive:
        try:
            arrays = [archive[f"{place:05d}"] for place in range(len(variables))]
            shapes = [(array.shape, tuple(variable.shape)) for array, variable in zip(arrays, variables, strict=True)]
            if len(archive.files) != len(variables) + 1 or any(found != wanted for found, wanted in shapes):
                raise ValueError("its variables are another model's")
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise _damaged(path, error) from error
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _opened(path: Path) -> Any:
    try:
        # From memory: numpy leaves the file open where it is no archive.
        return np.load(io.BytesIO(path.read_bytes()), allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InvalidInput:
    return InvalidInput(f"{path}: cannot be read ({error}); the run cannot go on from it, start a new one")
