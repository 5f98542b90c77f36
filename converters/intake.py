"""The user's file as seen by the parent: recognised, checked as far as plain Python can, and copied for the sandbox.

Nothing here loads TensorFlow, Keras, HDF5 or ONNX's own libraries. The sandbox never sees the user's path: what it
is given are copies, made while the digest is taken, so that what was checked is what is read.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deepfake_edge.converters.files.archive import extract_weights, read_archive
from deepfake_edge.converters.files.source_file import SourceFile, identify
from deepfake_edge.converters.keras_models.read import usable_config
from deepfake_edge.converters.order import COPIES, Order
from deepfake_edge.errors import BundleError, ConversionError
from deepfake_edge.onnx_wire import check_onnx


def take(
    source: Path,
    folder: Path,
    *,
    family: str | None,
    given: Mapping[str, Any],
    fused: bool = False,
    trust_source: bool = False,
) -> tuple[SourceFile, Order]:
    """Recognise, check and copy a model file.

    Args:
        source: the user's file or folder.
        folder: where the copies go.
        family: see `Order`.
        given: see `Order`.
        fused: see `Order`.
        trust_source: the user vouches for a SavedModel, which is a program.
    Raises:
        ConversionError: it is not a model file, is damaged, or holds what is never run; carries every reason.
    """
    file = identify(source)
    copy = folder / COPIES[file.kind]
    config: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    if file.kind == "archive":
        archive = folder / "model.keras"
        _copy(source, archive, file.sha256)
        config, notes = usable_config(read_archive(archive), str(source), family is not None)
        extract_weights(archive, copy)
        archive.unlink()
    elif file.kind == "saved_model":
        if not trust_source:
            raise ConversionError(
                f"{source}: a SavedModel is a program that TensorFlow runs; if you trust where it comes from, "
                "add --trust-source"
            )
        _copy_folder(source, copy, file.sha256)
    else:
        _copy(source, copy, file.sha256)
        if file.kind == "onnx":
            _check_onnx(copy, source)
    return file, Order(str(source), file.kind, config, family, dict(given), fused, notes)


def _copy(source: Path, target: Path, sha256: str) -> None:
    digest = hashlib.sha256()
    try:
        with source.open("rb") as file, target.open("wb") as copy:
            while block := file.read(1 << 20):
                digest.update(block)
                copy.write(block)
    except OSError as error:
        raise ConversionError(
            f"{source}: cannot be copied to {target.parent} (TMPDIR sets where): {error.strerror or error}"
        ) from error
    if digest.hexdigest() != sha256:
        raise ConversionError(f"{source}: changed while it was read")


def _copy_folder(source: Path, target: Path, sha256: str) -> None:
    try:
        shutil.copytree(source, target, symlinks=True)
    except OSError as error:
        raise ConversionError(
            f"{source}: cannot be copied to {target.parent} (TMPDIR sets where): {error.strerror or error}"
        ) from error
    if identify(target).sha256 != sha256:
        raise ConversionError(f"{source}: changed while it was read")


def _no_copy(source: Path, target: Path, error: OSError) -> str:
    return f"{source}: cannot be copied to {target.parent} (TMPDIR sets where): {error.strerror or error}"


def _check_onnx(copy: Path, source: Path) -> None:
    try:
        check_onnx(copy.read_bytes(), str(source))
    except BundleError as error:
        raise ConversionError(str(error)) from error
