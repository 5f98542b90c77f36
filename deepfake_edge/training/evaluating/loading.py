"""From the files that a user names to models that can be asked."""

from __future__ import annotations

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


def load_predictors(files: Sequence[Path], wanted: Wanted, stack: ExitStack) -> list[Predictor]:
    """Every model in every precision that is asked for; the stack closes them.

    Raises:
        InvalidInput: two would have one title, or an option is wrong.
        BundleError, ConversionError: a file is no model that can be read.
        InferenceError: a bundle does not say here what it said when it was converted.
    """
    found: list[Predictor] = []
    for path in files:
        if path.suffix == BUNDLE_SUFFIX:
            bundle = read_bundle(path)
            for precision in wanted.precisions or _precisions(bundle):
                found.append(_bundle_predictor(path, bundle, precision, wanted))
                stack.callback(found[-1].close)
        else:
            found.append(_keras_predictor(path, wanted))
            stack.callback(found[-1].close)
    titles = [item.identity.title for item in found]
    if twice := sorted({title for title in titles if titles.count(title) > 1}):
        raise InvalidInput(f"models: {', '.join(twice)} is named twice; give files of different names")
    return found


def _precisions(bundle: Bundle) -> list[str]:
    return list(dict.fromkeys(name.removesuffix("-unsigned") for name in bundle.variants))


def _bundle_predictor(path: Path, bundle: Bundle, precision: str, wanted: Wanted) -> Predictor:
    runtime = wanted.runtime
    options = RuntimeOptions(runtime.name, precision, runtime.threads, runtime.device)
    return BundlePredictor(path, bundle, options, f"{path.name} {precision}")


def _keras_predictor(path: Path, wanted: Wanted) -> Predictor:
    return load_keras(path, wanted.family, wanted.overrides or {})
