"""From the files that a user names to models that can be asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.errors import InvalidInput
from deepfake_edge.runtime_choice import RuntimeOptions
from deepfake_edge.training.evaluating.keras_predictor import load_keras
from deepfake_edge.training.evaluating.predictors import BundlePredictor, Predictor

BUNDLE_SUFFIX = ".dfe"


@dataclass(frozen=True, slots=True)
class Wanted:
    """How models are to be loaded.

    Attributes:
        runtime: for bundles; its precision is not looked at.
        precisions: which of a bundle's; None takes all that each one has.
        overrides: `--spec` and `--classes` for Keras files, key to text.
        family: of Keras files, as for `convert`.
    """

    runtime: RuntimeOptions
    precisions: Sequence[str] | None = None
    overrides: dict[str, str] | None = None
    family: str | None = None


def titles_of(files: Sequence[Path]) -> list[str]:
    """Each file's name, with as many of the folders above it as tell it from the others of that name.

    Raises:
        InvalidInput: a file is named twice.
    """
    places = [Path(os.path.abspath(path)).parts for path in files]
    titles = []
    for number, (path, place) in enumerate(zip(files, places, strict=True)):
        others = places[:number] + places[number + 1 :]
        if place in others:
            raise InvalidInput(f"models: {path} is named twice; name each file once")
        depths = range(1, len(place) + 1)
        depth = next(depth for depth in depths if place[-depth:] not in [other[-depth:] for other in others])
        titles.append("/".join(place[-depth:]))
    return titles


def load_predictors(files: Sequence[Path], wanted: Wanted, stack: ExitStack) -> list[Predictor]:
    """Every model in every precision that is asked for; the stack closes them.

    Raises:
        InvalidInput: a file is named twice, or an option is wrong.
        BundleError, ConversionError: a file is no model that can be read.
        InferenceError: a bundle does not say here what it said when it was converted.
    """
    found: list[Predictor] = []
    for path, title in zip(files, titles_of(files), strict=True):
        if path.suffix == BUNDLE_SUFFIX:
            bundle = read_bundle(path)
            for precision in wanted.precisions or _precisions(bundle):
                found.append(_bundle_predictor(path, bundle, f"{title} {precision}", precision, wanted))
                stack.callback(found[-1].close)
        else:
            found.append(load_keras(path, wanted.family, wanted.overrides or {}, title))
            stack.callback(found[-1].close)
    return found


def _precisions(bundle: Bundle) -> list[str]:
    return list(dict.fromkeys(name.removesuffix("-unsigned") for name in bundle.variants))


def _bundle_predictor(path: Path, bundle: Bundle, title: str, precision: str, wanted: Wanted) -> Predictor:
    runtime = wanted.runtime
    options = RuntimeOptions(runtime.name, precision, runtime.threads, runtime.device)
    return BundlePredictor(path, bundle, options, title)
