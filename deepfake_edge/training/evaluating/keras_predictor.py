"""A Keras file as a `Predictor`: the model as it was saved, with what it expects as `convert` would read it.

The file is checked and loaded as for a conversion (no code in it is run), but in this process: it is the user's own.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.cutting.cut import Cut, cut
from deepfake_edge.converters.intake import take
from deepfake_edge.converters.keras_models.origin import KerasOrigin
from deepfake_edge.converters.keras_models.read import Loaded, read_model
from deepfake_edge.converters.order import COPIES, Order
from deepfake_edge.converters.spec_values import parse_overrides, settle
from deepfake_edge.data import Floats
from deepfake_edge.errors import ConversionError, InferenceError, InvalidInput
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.evaluating.predictors import Identity

_KINDS = ("archive", "hdf5")
_BATCH = 8


class KerasPredictor:
    """A Keras model on the CPU, called on whole windows; implements `predictors.Predictor`."""

    def __init__(self, identity: Identity, spec: ModelSpec, call: Callable[[Any], Any]) -> None:
        """Wrap a function from float32 windows, channels last, to probabilities (B, C)."""
        self.identity, self.spec = identity, spec
        self._call = call

    def outputs(self, crops: Floats, windows: NDArray[np.int64]) -> Floats:
        """See `predictors.Predictor.outputs`."""
        pictures = np.ascontiguousarray(crops.transpose(0, 2, 3, 1))
        if windows.shape[1] == 1:
            pictures, windows = pictures[windows[:, 0]], np.arange(len(windows))
        parts = [self._call(pictures[windows[start : start + _BATCH]]) for start in range(0, len(windows), _BATCH)]
        outputs: Floats = np.concatenate([part.numpy() for part in parts])
        if not np.isfinite(outputs).all():
            raise InferenceError(f"{self.identity.title}: gave numbers that are not finite")
        return outputs

    def close(self) -> None:
        """Nothing is held that Python does not free."""


def load_keras(
    path: Path, family: str | None, overrides: Mapping[str, str], title: str | None = None
) -> KerasPredictor:
    """Load a .keras or .h5 file.

    Args:
        path: a model, or the weights of a named family.
        family: the architecture, `NAME` or `NAME:size=value,...`; None lets the file's structure tell.
        overrides: spec values, key to text; they change what the run says of a model in its folder.
        title: unique among the models of one evaluation; None takes the file's name.
    Raises:
        ConversionError: it is no Keras file, cannot be loaded safely, or does not say what it expects.
        InvalidInput: an option is wrong.
        MissingDependency: Keras is not installed.
    """
    given = parse_overrides(overrides)
    with tempfile.TemporaryDirectory(prefix="deepfake-edge-") as folder:
        file, order = take(path, Path(folder), family=family, given=given)
        if file.kind not in _KINDS:
            raise ConversionError(f"{path}: wanted a .keras or .h5 file, or a bundle (.dfe); convert it first")
        loaded = read_model(Path(folder) / COPIES[file.kind], order, lambda _: None)
    parts = _measured(loaded, order)
    trained = _spec_of_run(path)
    if trained is None:
        spec, _, _ = settle(loaded.family, KerasOrigin(loaded, parts).findings(), given)
    else:
        spec = trained.changed(given)
    identity = Identity(title or path.name, str(path), file.sha256, "keras", "tensorflow", file.sha256)
    return KerasPredictor(identity, spec, _call(loaded, parts))


def _spec_of_run(path: Path) -> ModelSpec | None:
    """What the run that trained a model says of it; None where the model does not lie in a run's folder."""
    config = path.parent / "config.json"
    if path.name != "best.keras" or not config.is_file():
        return None
    try:
        return ModelSpec.from_json(json.loads(config.read_bytes())["spec"])
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInput(f"{config}: does not say what {path.name} expects ({error}); give --spec") from None


def _measured(loaded: Loaded, order: Order) -> Cut:
    """Sizes and ending, without cutting: what cannot be cut can be evaluated."""
    frames, size_px = order.given.get("frames"), order.given.get("size_px")
    if loaded.family is not None:
        frames = loaded.family.spec.clip.frames if frames is None else frames
        size_px = loaded.family.spec.crop.size_px if size_px is None else size_px
    is_clip = len(loaded.model.input_shape) == 5
    return cut(loaded.model, frames, size_px, fused=is_clip, activation=order.given.get("activation"))


def _call(loaded: Loaded, parts: Cut) -> Callable[[Any], Any]:
    tf, flatten = workshop.tensorflow(), workshop.keras().tree.flatten
    side = (parts.size_px, parts.size_px, 3)
    shape = (None, *side) if parts.frames == 1 else (None, parts.frames, *side)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.float32)])  # type: ignore[untyped-decorator]
    def call(windows: Any) -> Any:
        return parts.ending.probabilities(flatten(loaded.model(windows, training=False)))[0]

    def run(windows: Floats) -> Any:
        return call(tf.constant(windows))

    return run
