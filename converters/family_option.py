"""`--family NAME` or `--family NAME:size=value,...`, read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TypeAlias

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.families import FAMILIES, Family

Sizes: TypeAlias = Mapping[str, "int | str"]


def parse_family(text: str) -> tuple[Family, Sizes]:
    """A family and the size arguments for its `build`.

    Raises:
        InvalidInput: there is no such family, or it has no such size.
    """
    name, _, listed = text.partition(":")
    if name not in FAMILIES:
        raise InvalidInput(f"family: wanted one of {', '.join(FAMILIES)}, got {name!r}")
    family = FAMILIES[name]
    defaults = {key: item.default for key, item in inspect.signature(family.build).parameters.items()}
    sizes: dict[str, int | str] = {}
    for pair in filter(None, listed.split(",")):
        key, _, value = (part.strip() for part in pair.partition("="))
        if key not in defaults or not value:
            known = ", ".join(f"{key}={default}" for key, default in defaults.items())
            raise InvalidInput(f"family: {name} takes {known}; got {pair!r}")
        try:
            sizes[key] = value if isinstance(defaults[key], str) else int(value)
        except ValueError:
            raise InvalidInput(f"family: {name}: {key}: wanted a whole number, got {value!r}") from None
    return family, sizes


def with_given(family: Family, sizes: Sizes, given: Mapping[str, object]) -> Sizes:
    """The sizes, and those of the spec values `frames` and `size_px` that the family's `build` takes."""
    parameters = inspect.signature(family.build).parameters
    more = {key: int(str(given[key])) for key in ("frames", "size_px") if key in given and key in parameters}
    return {**more, **sizes}
