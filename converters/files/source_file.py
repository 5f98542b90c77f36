"""What kind of file a model comes in: told by its content, and held to what its name promises."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from deepfake_edge.converters.files.archive import read_archive
from deepfake_edge.errors import BundleError, ConversionError
from deepfake_edge.onnx_wire import check_onnx

Kind: TypeAlias = Literal["archive", "hdf5", "onnx", "saved_model"]

MAX_BYTES = 2 * 1024**3
_MAX_FILES = 1000
_MAX_DEPTH = 16
_ZIPS, _HDF5 = (b"PK\x03\x04", b"PK\x05\x06"), b"\x89HDF\r\n\x1a\n"
_PROMISES: Mapping[str, Kind] = {".keras": "archive", ".h5": "hdf5", ".hdf5": "hdf5", ".onnx": "onnx"}
_NAMES: Mapping[Kind, str] = {
    "archive": "a .keras archive",
    "hdf5": "HDF5 (.h5)",
    "onnx": "ONNX (.onnx)",
    "saved_model": "a SavedModel folder",
}
_WANTED = f"wanted {', '.join(list(_NAMES.values())[:-1])} or {_NAMES['saved_model']}"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was recognised.

    Attributes:
        path: where it is.
        kind: `archive` (a .keras zip), `hdf5` (weights, or a full model of Keras 2's), `onnx`, or `saved_model` (a
            folder).
        sha256: digest of its bytes; of a folder, digest of its files' names, sizes and bytes.
    """

    path: Path
    kind: Kind
    sha256: str


def identify(path: Path) -> SourceFile:
    """Recognise a model file.

    Raises:
        ConversionError: it is absent, too large, damaged, no model, or named for another kind than it is; one line
            says which, save for an archive with several foreign members.
    """
    try:
        if path.is_dir():
            return _identified_folder(path)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConversionError(f"{path}: is no plain file; {_WANTED}")
        if found.st_size > MAX_BYTES:
            raise ConversionError(f"{path}: {found.st_size} bytes are more than a model may have ({MAX_BYTES})")
        kind = _kind(path)
        sha256 = _sha(path)
    except FileNotFoundError:
        raise ConversionError(f"{path}: does not exist; {_WANTED}") from None
    except (OSError, ValueError) as error:
        raise ConversionError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if kind == "archive":
        read_archive(path)
    return SourceFile(path, kind, sha256)


def _kind(path: Path) -> Kind:
    promised = _PROMISES.get(path.suffix.lower())
    with path.open("rb") as file:
        magic = file.read(len(_HDF5))
    kind: Kind | None = None
    if magic.startswith(_ZIPS):
        kind = "archive"
    elif magic == _HDF5:
        kind = "hdf5"
    elif promised == "onnx" or _is_onnx(path):
        kind = "onnx"
    if kind is None:
        raise ConversionError(f"{path}: is no model, or one that is damaged from its first bytes on; {_WANTED}")
    if promised not in (None, kind):
        raise ConversionError(f"{path}: its name promises {_NAMES[promised]}, it is {_NAMES[kind]}; rename it")
    return kind


def _is_onnx(path: Path) -> bool:
    """ONNX has no mark of its own: it is what reads as such."""
    try:
        check_onnx(path.read_bytes(), path.name)
    except BundleError:
        return False
    return True


def _identified_folder(path: Path) -> SourceFile:
    if not (path / "saved_model.pb").is_file():
        raise ConversionError(f"{path}: is a folder without a saved_model.pb; {_WANTED}")
    digest = hashlib.sha256()
    total = 0
    for count, file in enumerate(_files(path), 1):
        total += file.stat().st_size
        if count > _MAX_FILES or total > MAX_BYTES:
            raise ConversionError(f"{path}: more than {_MAX_FILES} files or {MAX_BYTES} bytes")
        digest.update(f"{file.relative_to(path).as_posix()}\0{_sha(file)}\0".encode("utf-8", "surrogateescape"))
    return SourceFile(path, "saved_model", digest.hexdigest())


def _files(folder: Path, depth: int = 0) -> Iterator[Path]:
    """Every file below a folder, in an order of its own; a link, a device or endless nesting is an error."""
    if depth > _MAX_DEPTH:
        raise ConversionError(f"{folder}: folders are nested deeper than {_MAX_DEPTH}")
    for item in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if item.is_dir(follow_symlinks=False):
            yield from _files(Path(item.path), depth + 1)
        elif item.is_file(follow_symlinks=False):
            yield Path(item.path)
        else:
            raise ConversionError(f"{folder}: {item.name!r} is a link or no plain file")


def _sha(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
