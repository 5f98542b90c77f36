"""`parity.Reference` as a file: what crosses from the conversion process to its parent."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.bundle import Golden
from deepfake_edge.converters.parity import Reference

_GOLDEN = "golden_"


def save_truth(truth: Reference, path: Path) -> None:
    """Write every array of a reference that is there."""
    arrays = {item.name: getattr(truth, item.name) for item in fields(Reference) if item.name != "golden"}
    arrays |= {_GOLDEN + item.name: getattr(truth.golden, item.name) for item in fields(Golden)}
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def load_truth(path: Path) -> Reference:
    """Read what `save_truth` wrote; nothing in it is trusted to be more than arrays of numbers."""
    arrays: dict[str, Any] = {}
    with np.load(path, allow_pickle=False) as file:
        for name in file.files:
            arrays[name] = file[name]
    golden = {item.name: arrays.pop(_GOLDEN + item.name) for item in fields(Golden)}
    return Reference(golden=Golden(**golden), **arrays)
