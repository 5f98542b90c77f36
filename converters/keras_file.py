"""What kind of file a model comes in: told by its content, never by its name."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from deepfake_edge.converters.failures import told
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

Kind: TypeAlias = Literal["archive", "weights", "legacy"]

MAX_BYTES = 2 * 1024**3
_MAX_UNPACKED_BYTES = 4 * 1024**3
_MAX_CONFIG_BYTES = 32 * 1024**2
_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
_WANTED = "wanted a .keras model, a .weights.h5 file or a Keras 2 .h5 file"


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A file that was recognised.

    Attributes:
        path: where it is.
        kind: `archive` (a .keras zip), `weights` (HDF5 as Keras 3 writes it), `legacy` (HDF5 as Keras 2 did).
        sha256: digest of its bytes.
        config: an archive's model configuration, else None.
    """

    path: Path
    kind: Kind
    sha256: str
    config: Mapping[str, Any] | None


def identify(path: Path) -> KerasFile:
    """Recognise a model file.

    Raises:
        ConversionError: it is absent, not a file of Keras's, too large or cut short; one line says which.
    """
    try:
        if path.is_dir():
            raise ConversionError(f"{path}: is a folder (a SavedModel?); {_WANTED}")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ConversionError(f"{path}: {size} bytes is more than a model may have ({MAX_BYTES})")
        with path.open("rb") as file:
            magic = file.read(8)
        sha256 = _sha(path)
    except FileNotFoundError:
        raise ConversionError(f"{path}: does not exist; {_WANTED}") from None
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror or error}") from error
    if magic.startswith(_ZIP):
        return KerasFile(path, "archive", sha256, _config(path))
    if magic == _HDF5:
        return KerasFile(path, _hdf5_kind(path), sha256, None)
    raise ConversionError(f"{path}: is neither a .keras archive nor HDF5; {_WANTED}")


@contextmanager
def named_for_keras(path: Path, kind: Kind) -> Iterator[Path]:
    """The same file under a name by which Keras recognises its format."""
    suffix = {"archive": ".keras", "weights": ".weights.h5", "legacy": ".h5"}[kind]
    if path.name.endswith(suffix):
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"model{suffix}"
        link.symlink_to(path.resolve())
        yield link


def foreign_layers(config: Mapping[str, Any]) -> list[str]:
    """Layers and objects in a configuration whose code is not Keras's own, each with the reason."""
    found: dict[str, None] = {}
    for item in _objects(config):
        kind, module, registered = item.get("class_name"), item.get("module"), item.get("registered_name")
        settings = item.get("config")
        name = settings.get("name") if isinstance(settings, dict) else None
        title = f"{name} ({kind})" if name else str(kind)
        if kind == "Lambda":
            found[f"{title}: holds Python code of its own, which is never run"] = None
        elif kind == "function" or module == "builtins":
            found[f"{settings if isinstance(settings, str) else title}: refers to a Python function"] = None
        elif isinstance(module, str) and module.partition(".")[0] != "keras":
            found[f"{title}: is a class of {module}, not of Keras"] = None
        elif module is None and registered not in (None, kind):
            found[f"{title}: is a custom class ({registered})"] = None
    return list(found)


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if "class_name" in item and "config" in item and item["class_name"] != "__keras_tensor__":
                yield item
            # How it was trained says nothing of what it computes.
            stack.extend(
                reversed([part for key, part in item.items() if key not in ("compile_config", "build_config")])
            )
        elif isinstance(item, list):
            stack.extend(reversed(item))


def _config(path: Path) -> Mapping[str, Any]:
    with told(f"{path}: is a damaged or truncated .keras archive"), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        names = [info.filename for info in infos]
        if sum(info.file_size for info in infos) > _MAX_UNPACKED_BYTES or len(set(names)) != len(names):
            raise ConversionError(f"{path}: unpacks to more than {_MAX_UNPACKED_BYTES} bytes, or names a member twice")
        missing = [name for name in (CONFIG, WEIGHTS) if name not in names]
        if missing:
            raise ConversionError(f"{path}: is a zip but no .keras archive: {' and '.join(missing)} missing")
        if archive.getinfo(CONFIG).file_size > _MAX_CONFIG_BYTES:
            raise ConversionError(f"{path}: {CONFIG} is larger than {_MAX_CONFIG_BYTES} bytes")
        damaged = archive.testzip()
        if damaged is not None:
            raise ConversionError(f"{path}: is a damaged .keras archive ({damaged} does not match its checksum)")
        text = archive.read(CONFIG)
    with told(f"{path}: {CONFIG} is not JSON"):
        config = json.loads(text)
    if not isinstance(config, dict):
        raise ConversionError(f"{path}: {CONFIG} does not describe a model")
    return config


def _hdf5_kind(path: Path) -> Kind:
    h5py = workshop.h5py()
    with told(f"{path}: is a damaged or truncated HDF5 file"), h5py.File(path, "r") as file:
        return "legacy" if "layer_names" in file.attrs or "model_weights" in file else "weights"


def _sha(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
