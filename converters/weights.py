"""Weights from a file into a model that was built from code: all of them or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.converters.failures import told
from deepfake_edge.converters.keras_file import WEIGHTS, KerasFile, named_for_keras
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

_MANY = 6
_NOT_WEIGHTS = ("optimizer", "seed_generator", "_layer_checkpoint_dependencies")


def load_weights(model: Any, file: KerasFile, family: str) -> None:
    """Load a file's weights, and make sure that each of them arrived.

    Raises:
        ConversionError: they do not fit; carries every mismatch. The model is of no use then.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with told(f"{file.path}: its weights cannot be read"):
            path = _unpacked(file, place) if file.kind == "archive" else file.path
            reasons = _legacy_mismatches(model, path) if file.kind == "legacy" else _mismatches(model, path, place)
        if reasons:
            raise ConversionError(f"{file.path}: its weights are not those of {family}:", reasons)
        kind = "weights" if file.kind == "archive" else file.kind
        with (
            told(f"{file.path}: Keras cannot load its weights"),
            workshop.quiet(),
            named_for_keras(path, kind) as named,
        ):
            model.load_weights(named)
        with told(f"{file.path}: its weights cannot be read"):
            lost = _lost(model, path)
    if lost:
        raise ConversionError(f"{file.path}: its weights did not all arrive in {family}:", lost)


def _unpacked(file: KerasFile, folder: Path) -> Path:
    target = folder / "unpacked.weights.h5"
    with zipfile.ZipFile(file.path) as archive, archive.open(WEIGHTS) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
    return target


def _mismatches(model: Any, path: Path, folder: Path) -> list[str]:
    """Compare the stored tree with the one that the model itself would store."""
    own = folder / "own.weights.h5"
    model.save_weights(own)
    wanted, found = _shapes(own), _shapes(path)
    own.unlink()
    reasons = []
    for name in sorted(set(wanted) | set(found)):
        if name not in found:
            reasons.append(f"{name}: wanted {wanted[name]}, it is missing")
        elif name not in wanted:
            reasons.append(f"{name}: not wanted, found {found[name]}")
        elif wanted[name] != found[name]:
            reasons.append(f"{name}: wanted {wanted[name]}, found {found[name]}")
    return reasons


def _legacy_mismatches(model: Any, path: Path) -> list[str]:
    """Keras 2 lists layers in the order they were made in; those without weights do not count."""
    with workshop.h5py().File(path, "r") as file:
        group = file if "layer_names" in file.attrs else file["model_weights"]
        stored = []
        for layer in _texts(group.attrs["layer_names"]):
            names = _texts(group[layer].attrs.get("weight_names", ()))
            if names:
                stored.append((layer, [tuple(group[layer][name].shape) for name in names]))
    own = []
    for layer in model.layers:
        weights = [tuple(item.shape) for item in (*layer.trainable_weights, *layer.non_trainable_weights)]
        if weights:
            own.append((layer.name, weights))
    reasons = []
    for place in range(max(len(own), len(stored))):
        title, wanted = own[place] if place < len(own) else ("no layer", [])
        source, found = stored[place] if place < len(stored) else ("nothing", [])
        if len(wanted) != len(found):
            reasons.append(f"{title}: wanted {listed(wanted)}, found {listed(found)} in {source}")
        else:
            pairs = enumerate(zip(wanted, found, strict=True))
            reasons += [f"{title}, weight {at}: wanted {a}, found {b} in {source}" for at, (a, b) in pairs if a != b]
    return reasons


def listed(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes in words; a count where they are many."""
    return f"{len(shapes)} weights" if len(shapes) > _MANY else " ".join(map(str, shapes)) or "no weights"


def _texts(values: Any) -> list[str]:
    return [item.decode("utf-8") if isinstance(item, bytes) else str(item) for item in values]


def _datasets(path: Path) -> Iterator[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    h5py = workshop.h5py()
    with h5py.File(path, "r") as file:
        root = file.get("model_weights", file)
        root.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
        for name, item in found:
            if not any(part.startswith(_NOT_WEIGHTS) for part in name.split("/")):
                yield name, item


def _shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    return {name: tuple(item.shape) for name, item in _datasets(path)}


def _lost(model: Any, path: Path) -> list[str]:
    """Weights of the model that are in no dataset of the file, and datasets that are in no weight of the model.

    Keras's loaders match layers by position and may pass over some; bytes cannot be mistaken.
    """
    stored = Counter(_fingerprint(item[()]) for _, item in _datasets(path))
    reasons = []
    for weight in model.weights:
        if "seed_generator" in weight.path:
            continue
        key = _fingerprint(np.asarray(weight))
        if stored[key] > 0:
            stored[key] -= 1
        else:
            reasons.append(f"{weight.path} {tuple(weight.shape)}: was not loaded")
    reasons += [f"a stored {shape} array was not used" for (shape, _), count in stored.items() if count > 0]
    return reasons


def _fingerprint(values: Any) -> tuple[tuple[int, ...], bytes]:
    exact = np.ascontiguousarray(values, dtype=np.float32)
    return exact.shape, hashlib.sha256(exact.tobytes()).digest()
