"""What was observed once is kept: the same network on the same crops is not run again."""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.cache import cache_dir
from deepfake_edge.converters.precision.ranges import BINS, Observed, observe
from deepfake_edge.data import Pixels
from deepfake_edge.errors import BundleError
from deepfake_edge.npy import read_npy, write_npy
from deepfake_edge.sealed import seal, unseal, write_atomically
from deepfake_edge.spec import CropSpec
from deepfake_edge.training.progress import Progress

# Raised when what is observed of a network changes.
_FORMAT = 2
_NAMES = "names.json"
_ARRAYS = {"low": "float32", "high": "float32", "reach": "float32", "counts": "int64"}
_TOOLS = ("deepfake-edge", "onnxruntime")


def observe_once(
    graph: bytes,
    crops: Pixels,
    spec: CropSpec,
    windows: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
) -> Observed:
    """As `observe`, but from the cache folder where the same was observed before.

    What is kept is looked for under a digest of everything that it depends on, and checked when it is read; a damaged
    file counts as none. A folder that cannot be written costs time, not the result: `progress` is told.
    """
    path = cache_dir() / "ranges" / f"{_key(graph, crops, spec, windows)}.zip"
    kept = _read(path)
    if kept is not None:
        if progress is not None:
            progress("calibrating: nothing changed since the last time, its ranges are taken")
        return kept
    observed = observe(graph, crops, spec, windows, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(_pack(observed), path)
    except OSError as error:
        if progress is not None:
            progress(f"calibrating: the ranges cannot be kept for the next time ({error})")
    return observed


def _key(graph: bytes, crops: Pixels, spec: CropSpec, windows: NDArray[np.int64] | None) -> str:
    parts = (_FORMAT, BINS, spec.mean, spec.scale, crops.shape, None if windows is None else windows.shape)
    tools = [metadata.version(tool) for tool in _TOOLS]
    digest = hashlib.sha256(json.dumps([parts, tools]).encode())
    for content in (graph, crops.tobytes(), b"" if windows is None else windows.tobytes()):
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _pack(observed: Observed) -> bytes:
    arrays = {f"{name}.npy": write_npy(getattr(observed, name)) for name in _ARRAYS}
    return seal({_NAMES: json.dumps(observed.names).encode("ascii"), **arrays})


def _read(path: Path) -> Observed | None:
    """What was kept; None where there is nothing, or not what `_pack` wrote."""
    try:
        members = unseal(path.read_bytes(), path.name)
        names = json.loads(members[_NAMES])
        arrays = {name: read_npy(members[f"{name}.npy"], name) for name in _ARRAYS}
    except (OSError, BundleError, ValueError, KeyError, RecursionError):
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    for name, dtype in _ARRAYS.items():
        shape = (len(names), BINS) if name == "counts" else (len(names),)
        if arrays[name].dtype != dtype or arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            return None
    if len(set(names)) != len(names) or not (arrays["counts"] >= 0).all() or not arrays["counts"].any(axis=1).all():
        return None
    return Observed(tuple(names), **arrays)
