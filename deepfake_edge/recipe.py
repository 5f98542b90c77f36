"""Which bundles judge together, and what each of them weighs: from a list, or from an ensemble file.

An ensemble file is JSON: {"models": [{"bundle": "a.dfe", "weight": 0.6}, ...], "threshold": 0.5}. A bundle's path is
absolute or relative to the file's folder. `threshold` may be left out where the members' own are the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import read_at_most
from deepfake_edge.errors import BundleError, InvalidInput
from deepfake_edge.spec import ModelSpec
from deepfake_edge.urls import is_url

SUFFIX = ".json"
MAX_MODELS = 16
_MAX_BYTES = 64 * 1024
# A member that weighs a millionth of another says nothing: more likely a slip than a wish.
_LOWEST_WEIGHT, _HIGHEST_WEIGHT = 1e-6, 1e6


@dataclass(frozen=True, slots=True)
class Entry:
    """One member: where its bundle is, and its share of the score (0..1; the shares of a recipe sum to 1)."""

    bundle: Path
    weight: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """What judges together; a single bundle is a recipe of one.

    Attributes:
        entries: 1 to MAX_MODELS members.
        threshold: a fused score at or above it is `fake`; None: the members' own.
    """

    entries: tuple[Entry, ...]
    threshold: float | None = None

    def decided_threshold(self, specs: Sequence[ModelSpec]) -> float:
        """The recipe's threshold, else the one that all members have.

        Raises:
            InvalidInput: the members' thresholds differ, and the recipe has none.
        """
        if self.threshold is not None:
            return self.threshold
        found = sorted({spec.threshold for spec in specs})
        if len(found) > 1:
            raise InvalidInput(
                f"threshold: the members have {', '.join(f'{value:g}' for value in found)}, and an ensemble needs one; "
                'say which in an ensemble file: {"models": [...], "threshold": 0.5}'
            )
        return found[0]


def recipe_of(
    model: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], weights: Sequence[float] | None = None
) -> Recipe:
    """The recipe that somebody means.

    Args:
        model: a bundle, an ensemble file (`.json`), or several bundles.
        weights: one a bundle where there are several; None: all weigh the same.
    Raises:
        InvalidInput: no bundle, too many, one twice, or weights that do not fit.
        BundleError: the ensemble file cannot be read, or is none.
    """
    if isinstance(model, str | os.PathLike):
        if weights is not None:
            raise InvalidInput("weights: go with a list of bundles, not with a single model or an ensemble file")
        return read_recipe(model) if _is_recipe(model) else Recipe((Entry(Path(model), 1.0),))
    if not isinstance(model, Sequence):
        raise InvalidInput(f"model: wanted a path or a list of paths, got {type(model).__name__}")
    bundles = list(model)
    given = [1.0] * len(bundles) if weights is None else list(weights)
    if len(given) != len(bundles):
        raise InvalidInput(f"weights: wanted {len(bundles)}, one a bundle, got {len(given)}")
    try:
        entries = [
            _entry(bundle, weight, Path(), f"models[{index}]")
            for index, (bundle, weight) in enumerate(zip(bundles, given, strict=True))
        ]
        return Recipe(_shares(entries))
    except _Wrong as error:
        raise InvalidInput(str(error)) from None


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read an ensemble file.

    Raises:
        BundleError: it cannot be read, or is not what the top of this file says; names the entry.
    """
    text = read_at_most(path, _MAX_BYTES, "an ensemble file")
    try:
        table = json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
        table = _table("the file", table, {"models"}, {"threshold"})
        models = table["models"]
        if not isinstance(models, list):
            raise _Wrong(f"models: wanted a list, got {type(models).__name__}")
        items = [_table(f"models[{index}]", item, {"bundle", "weight"}) for index, item in enumerate(models)]
        folder = Path(path).parent
        entries = [
            _entry(item["bundle"], item["weight"], folder, f"models[{index}]") for index, item in enumerate(items)
        ]
        threshold = _number("threshold", table["threshold"], 0.0, 1.0) if "threshold" in table else None
        return Recipe(_shares(entries), threshold)
    except _Wrong as error:
        raise BundleError(f"{path}: {error}") from None
    except (ValueError, RecursionError):
        raise BundleError(f'{path}: is not JSON; wanted {{"models": [{{"bundle": "a.dfe", "weight": 1}}]}}') from None


class _Wrong(Exception):
    """What is wrong; whoever knows where it was read says so."""


def _is_recipe(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() == SUFFIX


def _entry(bundle: object, weight: object, folder: Path, name: str) -> Entry:
    if not isinstance(bundle, str | os.PathLike) or not os.fspath(bundle):
        raise _Wrong(f"{name}.bundle: wanted a path, got {bundle!r}")
    if is_url(str(bundle)):
        raise _Wrong(f"{name}.bundle: wanted a file on this machine, got an address")
    if _is_recipe(bundle):
        raise _Wrong(f"{name}.bundle: wanted a bundle (.dfe), got {bundle}; an ensemble holds no other ensemble")
    return Entry(folder / bundle, _number(f"{name}.weight", weight, _LOWEST_WEIGHT, _HIGHEST_WEIGHT))


def _shares(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    if not 1 <= len(entries) <= MAX_MODELS:
        raise _Wrong(f"models: wanted from 1 to {MAX_MODELS}, got {len(entries)}")
    first: dict[str, int] = {}
    for index, entry in enumerate(entries):
        earlier = first.setdefault(_place(entry.bundle), index)
        if earlier != index:
            raise _Wrong(f"models[{index}].bundle: is that of models[{earlier}]; name each bundle once")
    total = sum(entry.weight for entry in entries)
    return tuple(Entry(entry.bundle, entry.weight / total) for entry in entries)


def _place(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)  # no path at all: whoever opens it says so


def _table(name: str, value: object, wanted: set[str], optional: frozenset[str] | set[str] = frozenset()) -> Any:
    if not isinstance(value, dict):
        raise _Wrong(f"{name}: wanted an object, got {type(value).__name__}")
    missing, extra = sorted(wanted - set(value)), sorted(set(value) - wanted - optional)
    if missing or extra:
        raise _Wrong(f"{name}: missing keys {missing}, unknown keys {extra}")
    return value


def _number(name: str, value: object, low: float, high: float) -> float:
    # Comparing first: a whole number may be too large to be a float at all.
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise _Wrong(f"{name}: wanted a number from {low:g} to {high:g}, got {_short(value)}")
    return float(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _Wrong(f"keys: one of {sorted(table)} stands twice")
    return table


def _refused(constant: str) -> float:
    raise _Wrong(f"{constant} is no number")
