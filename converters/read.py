"""A file becomes a Keras model and what is known of it: its family, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from deepfake_edge.converters.failures import last_line, told
from deepfake_edge.converters.keras_file import KerasFile, foreign_layers, named_for_keras
from deepfake_edge.converters.signature import Line, signature
from deepfake_edge.converters.steps import graph_of
from deepfake_edge.converters.weights import listed, load_weights
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.training import workshop
from deepfake_edge.training.families import FAMILIES, Family

_SHOWN_DIFFERENCES = 12


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with all its weights.

    Attributes:
        model: the Keras model.
        family: the family it belongs to; None when it is of none.
        sizes: the size arguments with which that family's `build` gives its structure.
        how: how the family is known, in words.
        warnings: what a user should know.
    """

    model: Any
    family: Family | None
    sizes: Mapping[str, int]
    how: str
    warnings: tuple[str, ...] = ()


def read_model(file: KerasFile, family: str | None, overrides: Mapping[str, str]) -> Loaded:
    """Load a file.

    Args:
        file: a recognised file.
        family: its architecture, where the user names it.
        overrides: spec values of the user's; `frames` and `size_px` are sizes to build a family with.
    Raises:
        InvalidInput: there is no such family.
        ConversionError: it cannot be loaded safely, or is not what it should be.
    """
    if family is not None and family not in FAMILIES:
        raise InvalidInput(f"family: wanted one of {', '.join(FAMILIES)}, got {family!r}")
    workshop.keras()
    known = FAMILIES[family] if family is not None else None
    if file.kind == "archive":
        return _from_archive(file, known, overrides)
    if known is None:
        what = "weights only" if file.kind == "weights" else "in Keras 2's format, of which only the weights are read"
        raise ConversionError(
            f"{file.path}: is {what}; name the architecture: --family {' or --family '.join(FAMILIES)}"
        )
    return _into_family(file, known, overrides, ())


def _from_archive(file: KerasFile, known: Family | None, overrides: Mapping[str, str]) -> Loaded:
    foreign = foreign_layers(file.config or {})
    if foreign and known is None:
        raise ConversionError(f"{file.path}: holds layers that are not Keras's own; they are never run:", foreign)
    if foreign and known is not None:
        note = f"the file holds {'; '.join(foreign)}: its weights went into the family's own architecture instead"
        return _into_family(file, known, overrides, (note,))
    keras = workshop.keras()
    with (
        told(f"{file.path}: Keras cannot load it"),
        workshop.quiet(),
        named_for_keras(file.path, file.kind) as named,
    ):
        model = keras.saving.load_model(named, compile=False, safe_mode=True)
    if known is None:
        found = recognise(model)
        if found.family is None or "classes" in overrides:
            return found
        return replace(found, warnings=(_unconfirmed(found.family),))
    graph_of(model)
    sizes = known.sizes(model)
    built = known.build(**(sizes or {}))
    differences = _differences(signature(built), signature(model))
    if differences:
        raise ConversionError(
            f"{file.path}: is not a {known.name}; leave --family away and give what it expects with --spec:",
            differences,
        )
    return Loaded(model, known, sizes or {}, f"--family {known.name}, and its structure agrees")


def recognise(model: Any) -> Loaded:
    """Find the family that a model has the structure of, whatever its sizes. Raises ConversionError: see `graph_of`."""
    found = signature(model)
    for family in FAMILIES.values():
        sizes = family.sizes(model)
        if sizes is not None and _structure(family, sizes) == found:
            listing = ", ".join(f"{key}={value}" for key, value in sizes.items())
            return Loaded(model, family, sizes, f"family {family.name}, recognised by its structure ({listing})")
    return Loaded(model, None, {}, "of no family that is known here")


def _structure(family: Family, sizes: Mapping[str, int]) -> tuple[Line, ...] | None:
    """A family's structure at these sizes; None where it cannot be built so."""
    try:
        return signature(family.build(**sizes))
    except ValueError:
        return None


def _unconfirmed(family: Family) -> str:
    return (
        f"class order ({', '.join(family.spec.classes)}), pixel values and sampling are the family's, by structure "
        f"alone: check them; say --family {family.name}, or --spec classes=..., to confirm"
    )


def _into_family(file: KerasFile, family: Family, overrides: Mapping[str, str], warnings: tuple[str, ...]) -> Loaded:
    sizes = {}
    for key in ("frames", "size_px"):
        if key in overrides:
            try:
                sizes[key] = int(overrides[key])
            except ValueError:
                raise InvalidInput(f"spec {key}: wanted a whole number, got {overrides[key]!r}") from None
    if family.spec.clip.frames == 1:
        sizes.pop("frames", None)
    try:
        model = family.build(**sizes)
    except ValueError as error:
        raise InvalidInput(f"family {family.name} cannot be built with {sizes}: {last_line(error)}") from error
    load_weights(model, file, family.name)
    return Loaded(model, family, sizes, f"--family {family.name}, every weight of the file in its place", warnings)


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
