"""Weights from a file into a model that is already built: all of them or none.

Which stored array belongs to which weight is settled first (`stored_weights`), then each is put in its place, and
then each place is looked at again. Keras's own loaders go by position and may pass over some without a word.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.failures import told
from deepfake_edge.converters.keras_models.legacy_weights import pairs_of_layers
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

_MANY = 6
# What a file holds beside a model's own weights: the training's state, and the dice of dropout and augmentation.
_OF_TRAINING = ("optimizer", "optimizer_weights", "metrics", "_metrics", "loss_tracker", "_loss_tracker")
_DICE = "seed_generator"


def load_weights(model: Any, path: Path, kind: Literal["weights", "legacy"], *, source: str, into: str) -> None:
    """Load a file's weights, and make sure that each of them arrived where it belongs.

    Args:
        model: a built Keras model.
        path: HDF5; its links have been checked.
        kind: `weights` as Keras 3 and 2.12 to 2.15 write them, `legacy` as Keras 2 writes `.h5` files.
        source: what to call the file in a message.
        into: what to call the model in a message.
    Raises:
        ConversionError: they do not fit; carries every mismatch. The model is of no use then.
    """
    lost: list[str] = []
    with told(f"{source}: its weights cannot be read"), workshop.quiet(), workshop.h5py().File(path, "r") as file:
        reasons = (_load_legacy if kind == "legacy" else _load_tree)(model, file, lost)
    if reasons:
        raise ConversionError(f"{source}: its weights are not those of {into}:", reasons)
    if lost:
        raise ConversionError(f"{source}: its weights did not all arrive in {into}:", lost)


def listed(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes in words; a count where they are many."""
    return f"{len(shapes)} weights" if len(shapes) > _MANY else " ".join(map(str, shapes)) or "no weights"


def _load_legacy(model: Any, file: Any, lost: list[str]) -> list[str]:
    pairs, reasons = pairs_of_layers(model, file)
    if reasons:
        return list(reasons)
    for variable, dataset in pairs:
        variable.assign(dataset[()])
    lost += [f"{variable.path} {tuple(variable.shape)}" for variable, stored in pairs if not _same(variable, stored)]
    placed = {id(variable) for variable, _ in pairs}
    lost += [
        f"{weight.path} {tuple(weight.shape)}: was not loaded"
        for weight in model.weights
        if id(weight) not in placed and _DICE not in weight.path
    ]
    return []


def _load_tree(model: Any, file: Any, lost: list[str]) -> list[str]:
    """Write the stored arrays over those of a file of the model's own, and let Keras read that one."""
    h5py = workshop.h5py()
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "own.weights.h5"
        model.save_weights(own)
        stored = _datasets(file)
        with h5py.File(own, "r+") as target:
            wanted = _datasets(target)
            reasons = _mismatches(wanted, stored)
            if reasons:
                return reasons
            sources = _by_name(target, wanted, file, stored)
            for name, dataset in wanted.items():
                dataset[...] = sources[name][()]
        model.load_weights(own)
        own.unlink()
        model.save_weights(own)
        with h5py.File(own, "r") as arrived:
            lost += [name for name, dataset in _datasets(arrived).items() if not _same(dataset, sources[name])]
    return []


def _same(found: Any, stored: Any) -> bool:
    """Whether two arrays hold the same numbers, bit by bit, in the type of the first."""
    exact = np.ascontiguousarray(found)
    with np.errstate(all="ignore"):
        wanted: NDArray[Any] = np.ascontiguousarray(stored[()]).astype(exact.dtype)
    return exact.shape == wanted.shape and exact.tobytes() == wanted.tobytes()


def _datasets(file: Any) -> dict[str, Any]:
    """The weights of a tree by where Keras 3.15 would put them."""
    h5py = workshop.h5py()
    found: dict[str, Any] = {}

    def visit(name: str, item: Any) -> None:
        parts = _parts(name)
        if isinstance(item, h5py.Dataset) and parts[0] not in _OF_TRAINING and parts[-3:-2] != [_DICE]:
            place = "/".join(parts)
            if place in found:
                raise ConversionError(f"{place} is stored twice")
            found[place] = item

    file.visititems(visit)
    return found


def _parts(name: str) -> list[str]:
    """A path's parts as Keras 3.15 would write them.

    Keras 2 on Windows wrote backslashes, 2.12 and 2.13 another name for `layers`, and 2.15 a multi-head attention's
    four layers with an underscore.
    """
    parts = name.replace("\\", "/").replace("_layer_checkpoint_dependencies", "layers").split("/")
    return [part[1:] if part.startswith("_") and part.endswith("_dense") else part for part in parts]


def _mismatches(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    reasons = []
    for name in sorted(set(wanted) | set(found)):
        if name not in found:
            reasons.append(f"{name}: wanted {wanted[name].shape}, it is missing")
        elif name not in wanted:
            reasons.append(f"{name}: not wanted, found {found[name].shape}")
        elif wanted[name].shape != found[name].shape:
            reasons.append(f"{name}: wanted {wanted[name].shape}, found {found[name].shape}")
    return reasons


def _by_name(own: Any, wanted: Mapping[str, Any], file: Any, stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """The stored array for each wanted place.

    Places are numbered by the order of layers. Files of newer Kerases give the layers' names as well: where these
    are the model's own in another order, the names are right.
    """
    by_name = {_named(file, name, item): item for name, item in stored.items()}
    names = {name: _named(own, name, item) for name, item in wanted.items()}
    if set(by_name) != set(names.values()) or len(by_name) != len(stored):
        return stored
    swapped = {name: by_name[names[name]] for name in wanted}
    return swapped if all(swapped[name].shape == item.shape for name, item in wanted.items()) else stored


def _named(file: Any, place: str, item: Any) -> str:
    """A dataset's place with the layers' names, where the file gives them, instead of their numbers."""
    parts = place.split("/")
    named = []
    for end, part in enumerate(parts[:-2], 1):
        group = file.get("/".join([*parts[:end], "vars"]))
        name = None if group is None else group.attrs.get("name")
        named.append(part if name is None else f"={name}")
    return "/".join([*named, item.name.rpartition("/")[2]])
