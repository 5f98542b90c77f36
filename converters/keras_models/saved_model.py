"""TensorFlow SavedModel folders: a program, and the variables that it computes with.

Loading one gives TensorFlow whatever operations its author put into it; only where the user vouches for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.converters.failures import told
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

Weights: TypeAlias = list[tuple[str, NDArray[Any]]]

_SIGNATURE = "serving_default"
_PROGRAM = "saved_model.pb"
_MAX_BYTES = 4 * 1024**3
_MAX_PROGRAM_BYTES = 512 * 1024**2
_MAX_FILES = 1000
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class SavedSource:
    """A loaded SavedModel.

    Attributes:
        function: its `serving_default`: float32 (N, ...) channels-last in, float32 (N, ...) out.
        weights: name and value of each variable that the function uses, in the order of their use.
    """

    function: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    weights: Weights


def read_saved_model(folder: Path) -> SavedSource:
    """Load a SavedModel: one that `model.export`, `tf.saved_model.save` or Keras 2's `model.save` wrote.

    Raises:
        ConversionError: it is damaged, out of all proportion, or has not one float32 input and one output.
    """
    _check_folder(folder)
    tf = workshop.tensorflow()
    with told("TensorFlow cannot load the SavedModel"), workshop.quiet():
        program = tf.saved_model.load(str(folder))
        signatures = dict(program.signatures)
    if _SIGNATURE not in signatures:
        found = ", ".join(signatures) or "none"
        raise ConversionError(
            f"the SavedModel has no signature {_SIGNATURE} (found: {found}); write it with model.export(folder)"
        )
    with told("the SavedModel's signature cannot be read"):
        function = _function(program, signatures[_SIGNATURE])
        weights = [(str(item.name).partition(":")[0], item.numpy()) for item in signatures[_SIGNATURE].variables]
    if not weights:
        raise ConversionError("the SavedModel's variables are frozen into its program; keep it unfrozen")
    return SavedSource(function, weights)


def fill(model: Any, weights: Weights) -> None:
    """Put a SavedModel's variables into an architecture.

    A variable goes where name and shape say, or the shape alone where its name says nothing; among several equals
    their order decides, so that only a comparison of what the two compute proves the result.

    Args:
        model: a built Keras model.
        weights: see `SavedSource`.
    Raises:
        ConversionError: they do not fit; carries every mismatch.
    """
    own = [(item.path, item) for item in model.weights if "seed_generator" not in item.path]
    found = [(name, value) for name, value in weights if "seed_generator" not in name]
    for key in (_name_and_shape, _shape):
        wanted, given = _grouped(own, key), _grouped(found, key)
        if _counts(wanted) == _counts(given):
            for group, variables in wanted.items():
                for variable, value in zip(variables, given[group], strict=True):
                    variable.assign(value)
            return
    raise ConversionError(
        "the SavedModel's variables are not those of the architecture:", _differences(_counts(wanted), _counts(given))
    )


def _check_folder(folder: Path) -> None:
    """Refuse what is no SavedModel, or is too large, before TensorFlow opens any of it."""
    try:
        paths = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
        sizes = [path.lstat().st_size for path in paths]
        program = folder / _PROGRAM
        if not program.is_file():
            raise ConversionError(f"is no SavedModel: wanted a folder with {_PROGRAM}")
        program_bytes = program.stat().st_size
    except OSError as error:
        raise ConversionError(f"the SavedModel cannot be read: {error.strerror or error}") from error
    odd = [path.relative_to(folder).as_posix() for path in paths if path.is_symlink() or not path.is_file()]
    if odd:
        raise ConversionError("the SavedModel holds links or devices:", odd[:_SHOWN])
    if len(paths) > _MAX_FILES or sum(sizes) > _MAX_BYTES or program_bytes > _MAX_PROGRAM_BYTES:
        raise ConversionError(
            f"the SavedModel is out of all proportion: {len(paths)} files, {sum(sizes)} bytes, of which "
            f"{program_bytes} in {_PROGRAM}; {_MAX_FILES}, {_MAX_BYTES} and {_MAX_PROGRAM_BYTES} are the most"
        )


def _function(program: Any, signature: Any) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """The signature as a function of one array; a batch size that was written into it is kept to."""
    tf = workshop.tensorflow()
    inputs, outputs = dict(signature.structured_input_signature[1]), dict(signature.structured_outputs)
    reasons = [
        f"{what}: wanted 1, found {len(found)} ({', '.join(found) or 'none'})"
        for what, found in (("inputs", inputs), ("outputs", outputs))
        if len(found) != 1
    ]
    reasons += [
        f"{name}: wanted float32, found {spec.dtype.name}"
        for name, spec in (*inputs.items(), *outputs.items())
        if spec.dtype != tf.float32
    ]
    if reasons:
        raise ConversionError(f"the SavedModel's {_SIGNATURE} is not that of a classifier:", reasons)
    (taken, spec), (given, _) = *inputs.items(), *outputs.items()
    fixed: int | None = None if spec.shape.rank is None else spec.shape[0]

    def run(values: NDArray[np.float32], keep: Any = program) -> NDArray[np.float32]:
        # A SavedModel's variables live only as long as the loaded program.
        with told("the SavedModel cannot be run"), workshop.quiet():
            if fixed is None:
                return np.asarray(signature(**{taken: tf.constant(values, tf.float32)})[given])
            parts = []
            for start in range(0, len(values), fixed):
                part = values[start : start + fixed]
                padded = np.concatenate([part, np.repeat(part[-1:], fixed - len(part), axis=0)])
                parts.append(np.asarray(signature(**{taken: tf.constant(padded, tf.float32)})[given])[: len(part)])
            return np.concatenate(parts)

    return run


def _grouped(items: Sequence[tuple[str, Any]], key: Callable[[str, Any], str]) -> Mapping[str, list[Any]]:
    groups: dict[str, list[Any]] = defaultdict(list)
    for name, item in items:
        groups[key(name, item)].append(item)
    return groups


def _counts(groups: Mapping[str, list[Any]]) -> Mapping[str, int]:
    return {group: len(items) for group, items in groups.items()}


def _name_and_shape(name: str, item: Any) -> str:
    last = name.rpartition("/")[2]
    # What Keras 2 called so in a DepthwiseConv2D is a plain kernel in Keras 3.
    return f"{'kernel' if last == 'depthwise_kernel' else last} {tuple(item.shape)}"


def _shape(_name: str, item: Any) -> str:
    return str(tuple(item.shape))


def _differences(wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    return [
        f"of shape {group}: wanted {wanted.get(group, 0)}, found {found.get(group, 0)}"
        for group in sorted({*wanted, *found})
        if wanted.get(group, 0) != found.get(group, 0)
    ]
