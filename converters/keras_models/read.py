"""A checked copy of a file becomes a Keras model and what is known of it: its family, or nothing."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepfake_edge.converters.cutting.steps import graph_of
from deepfake_edge.converters.failures import last_line
from deepfake_edge.converters.family_option import Sizes, parse_family, with_given
from deepfake_edge.converters.files.allowed import cleaned, objections
from deepfake_edge.converters.files.hdf5 import check_hdf5, hdf5_kind, read_model_config
from deepfake_edge.converters.keras_models.rebuild import build_model
from deepfake_edge.converters.keras_models.saved_model import fill, read_saved_model
from deepfake_edge.converters.keras_models.signature import Line, signature
from deepfake_edge.converters.keras_models.weights import listed, load_weights
from deepfake_edge.converters.order import HDF5_WALL_S, Order
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.training import workshop
from deepfake_edge.training.families import FAMILIES, Family

_SHOWN_DIFFERENCES = 12


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with all its weights.

    Attributes:
        model: the Keras model.
        whole: computes what the source itself says of float32 channels-last inputs; None: the model is the source.
        family: the family it belongs to; None when it is of none.
        how: how the family is known, in words.
        assumed: sizes that the file does not say, with where they came from instead.
        warnings: what a user should know.
    """

    model: Any
    whole: Callable[[Any], Any] | None
    family: Family | None
    how: str
    assumed: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def read_model(copy: Path, order: Order, progress: Callable[[str], None]) -> Loaded:
    """Load a copy.

    Args:
        copy: an archive's weights, an HDF5 file or a SavedModel's folder, in the process's own folder.
        order: what it is, and what the user says of it.
        progress: is told what is being done.
    Raises:
        InvalidInput: an option is wrong.
        ConversionError: it cannot be loaded safely, or is not what it should be.
    """
    named = None if order.family is None else parse_family(order.family)
    if order.kind == "saved_model":
        return _from_saved_model(copy, order, named, progress)
    # HDF5 can loop without end in a damaged file, where only a signal's default action reaches it.
    signal.alarm(HDF5_WALL_S)
    check_hdf5(copy, order.title)
    signal.alarm(0)
    kind = "weights" if order.kind == "archive" else hdf5_kind(copy)
    config, notes = order.config, order.notes
    if order.kind == "hdf5":
        found = read_model_config(copy, order.title)
        config, notes = usable_config(found, order.title, named is not None) if found is not None else (None, ())
    progress("starting TensorFlow")
    workshop.keras()
    progress("loading the model")
    if config is not None:
        return _from_config(config, copy, kind, order, named)
    if named is None:
        raise ConversionError(
            f"{order.title}: holds weights only; name the architecture: --family NAME, one of {', '.join(FAMILIES)}"
        )
    family, sizes = named[0], with_given(*named, order.given)
    model = _built(family, sizes)
    load_weights(model, copy, kind, source=order.title, into=family.name)
    how = f"--family {family.name}, every weight of the file in its place"
    return Loaded(model, None, family, how, _assumed(family, named[1]), notes)


def usable_config(
    config: Mapping[str, Any], title: str, has_family: bool
) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
    """What Keras may see of a configuration, and notes; nothing of one that holds more than Keras's own layers.

    Raises:
        ConversionError: there is no family either, that the weights could go into; carries every objection.
    """
    found = objections(config)
    if not found:
        return cleaned(config), ()
    if not has_family:
        raise ConversionError(f"{title}: holds what is never run or loaded:", found)
    return None, (f"the file holds {'; '.join(found)}: its weights went into the family's own architecture instead",)


def recognise(model: Any) -> tuple[Family, Sizes] | None:
    """Find the family that a model has the structure of, whatever its sizes. Raises ConversionError: see `graph_of`."""
    found = signature(model)
    for family in FAMILIES.values():
        sizes = family.sizes(model)
        if sizes is not None and _structure(family, sizes) == found:
            return family, sizes
    return None


def _from_config(
    config: Mapping[str, Any], copy: Path, kind: Any, order: Order, named: tuple[Family, Sizes] | None
) -> Loaded:
    model = build_model(config)
    load_weights(model, copy, kind, source=order.title, into="the model that the file describes")
    graph_of(model)
    notes = (*order.notes, *_mixed_precision(config))
    if named is not None:
        family, given = named
        sizes: Sizes = {**(family.sizes(model) or {}), **given}
        differences = _differences(signature(_built(family, sizes)), signature(model))
        if differences:
            raise ConversionError(
                f"{order.title}: is not a {family.name}; leave --family away and give what it expects with --spec:",
                differences,
            )
        return Loaded(model, None, family, f"--family {family.name}, and its structure agrees", warnings=notes)
    known = recognise(model)
    if known is None:
        return Loaded(model, None, None, "of no family that is known here", warnings=notes)
    family, found = known
    listing = ", ".join(f"{key}={value}" for key, value in found.items())
    how = f"family {family.name}, recognised by its structure ({listing})"
    loaded = Loaded(model, None, family, how, warnings=notes)
    return loaded if "classes" in order.given else replace(loaded, warnings=(*notes, _unconfirmed(family)))


def _from_saved_model(
    folder: Path, order: Order, named: tuple[Family, Sizes] | None, progress: Callable[[str], None]
) -> Loaded:
    if named is None:
        raise ConversionError(
            f"{order.title}: a SavedModel does not show its layers; name the architecture that its variables belong "
            f"to: --family NAME, one of {', '.join(FAMILIES)}"
        )
    progress("starting TensorFlow")
    workshop.keras()
    progress("loading the model")
    source = read_saved_model(folder)
    family, sizes = named[0], with_given(*named, order.given)
    model = _built(family, sizes)
    fill(model, source.weights)
    how = f"--family {family.name}, every variable of the SavedModel in its place"
    return Loaded(model, source.function, family, how, _assumed(family, named[1]), order.notes)


def _assumed(family: Family, sizes: Sizes) -> Mapping[str, str]:
    """Weights alone do not say how long a window or how large a crop was."""
    return {key: "--family" if key in sizes else f"family {family.name}" for key in ("frames", "size_px")}


def _mixed_precision(config: Mapping[str, Any]) -> tuple[str, ...]:
    found = sorted(set(re.findall(r'"(mixed_b?float16)"', json.dumps(config))))
    return tuple(
        f"the model was saved to compute in {policy}; it is converted, and compared with itself, in float32"
        for policy in found
    )


def _built(family: Family, sizes: Sizes) -> Any:
    try:
        return family.build(**sizes)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"family {family.name} cannot be built with {dict(sizes)}: {last_line(error)}") from error


def _structure(family: Family, sizes: Sizes) -> tuple[Line, ...] | None:
    """A family's structure at these sizes; None where it cannot be built so."""
    try:
        return signature(family.build(**sizes))
    except ValueError:
        return None


def _unconfirmed(family: Family) -> str:
    return (
        f"class order ({', '.join(family.spec.classes)}), pixel values and sampling are the family's, by structure "
        f"alone: check them; say --family {family.name}, or --classes ..., to confirm"
    )


def _differences(wanted: tuple[Line, ...], found: tuple[Line, ...]) -> list[str]:
    reasons = []
    for place in range(max(len(wanted), len(found))):
        left = wanted[place] if place < len(wanted) else None
        right = found[place] if place < len(found) else None
        if left != right:
            reasons.append(f"step {place}: wanted {_told(left)}, found {_told(right)}")
    more = len(reasons) - _SHOWN_DIFFERENCES
    return reasons[:_SHOWN_DIFFERENCES] + ([f"and {more} more"] if more > 0 else [])


def _told(line: Line | None) -> str:
    if line is None:
        return "nothing"
    if line[0] == "input":
        return f"an input of {line[1]}"
    return f"{line[0]} with {listed(line[2])}"
