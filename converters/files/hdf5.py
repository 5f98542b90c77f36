"""HDF5 files of weights, looked through before Keras opens them; for a process that may crash and holds no secrets.

HDF5 can keep a name's data in another file (external links, external storage, virtual datasets), give one object
many names, and declare any size for a few stored bytes. Keras uses none of that: groups, plain arrays of numbers and
short texts are all that may be there.
"""

from __future__ import annotations

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from deepfake_edge.converters.failures import told
from deepfake_edge.converters.files import strict_json
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

Kind: TypeAlias = Literal["weights", "legacy"]

_MAX_OBJECTS = 100_000
_MAX_DEPTH = 64
_MAX_NAME = 512
_MAX_RANK = 8
_MAX_ATTRIBUTES = 64
# Texts without a fixed length could all be the same long one; reading them meets the limit on memory.
_MAX_ATTRIBUTE_VALUES = 10_000
_MAX_ATTRIBUTE_BYTES = 16 * 1024**2
_MAX_BYTES = 4 * 1024**3
_MAX_ITEM_BYTES = 8
_MAX_WORK_BYTES = 512 * 1024**2
# Trained weights hardly shrink; below the floor a bomb would be harmless and zeros are common.
_MAX_RATIO = 200
_RATIO_FLOOR_BYTES = 1024**2
# HDF5's numbers of its filters: deflate, shuffle, fletcher32, and h5py's of LZF.
_FILTERS = (1, 2, 3, 32000)
_MODEL_CONFIG, _MODEL_WEIGHTS, _LAYER_NAMES, _WEIGHT_NAMES = (
    "model_config",
    "model_weights",
    "layer_names",
    "weight_names",
)


def check_hdf5(path: Path, title: str) -> None:
    """Refuse an HDF5 file that is more than groups of plain arrays.

    Args:
        path: the file.
        title: what to call it in a message.
    Raises:
        ConversionError: it cannot be read; a name is a soft, external or user-defined link, or leads out of its
            place; an object has two names; data lie in other files, or are not numbers; the declared sizes are out
            of proportion to the stored ones. One line says what and where.
    """
    h5py = workshop.h5py()
    with told(f"{title}: is a damaged or truncated HDF5 file"), _little_memory(), h5py.File(path, "r") as file:
        if file.userblock_size:
            raise ConversionError(f"{title}: something stands before its HDF5 content, which is refused")
        _Walk(h5py, title, path.stat().st_size).check(file.id)


def hdf5_kind(path: Path) -> Kind:
    """How the weights in a checked file are laid out: as Keras 3 writes them, or as Keras 2 did (`legacy`)."""
    with told(f"{path}: is a damaged or truncated HDF5 file"), workshop.h5py().File(path, "r") as file:
        old = _LAYER_NAMES in file.attrs or _MODEL_WEIGHTS in file or _MODEL_CONFIG in file.attrs
        return "legacy" if old else "weights"


def read_model_config(path: Path, title: str) -> dict[str, Any] | None:
    """The configuration of a full model in a checked file of Keras 2's layout; None where it holds weights only.

    Args:
        path: the file.
        title: what to call it in a message.
    Raises:
        ConversionError: the configuration is not strict JSON.
    """
    with told(f"{title}: its model_config cannot be read"), workshop.h5py().File(path, "r") as file:
        if _MODEL_CONFIG not in file.attrs:
            return None
        text = file.attrs[_MODEL_CONFIG]
        if not isinstance(text, str | bytes):
            raise ConversionError(f"{title}: its model_config is no text")
        data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
    return strict_json.parse_object(data, f"{title}: model_config")


@contextmanager
def _little_memory() -> Iterator[None]:
    """For a while, hold the process to little more memory than it has: HDF5 allocates what a damaged text claims."""
    _, *lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    held = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = held + _MAX_WORK_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most if soft == resource.RLIM_INFINITY else min(most, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@dataclass(slots=True)
class _Walk:
    """One pass over every object of a file, and what it has seen so far."""

    h5py: Any
    title: str
    file_bytes: int
    objects: int = 0
    stored: int = 0
    declared: int = 0

    def check(self, root: Any) -> None:
        seen = {self._address(root)}
        self._check_attributes(root, "/")
        stack = [(root, "", 0)]
        while stack:
            group, place, depth = stack.pop()
            if depth > _MAX_DEPTH:
                raise self._refusal(place, f"groups nested deeper than {_MAX_DEPTH}")
            for name in self._names(group, place):
                here = f"{place}/{name.decode('utf-8', 'backslashreplace')}"
                item = self._opened(group, name, here)
                address = self._address(item)
                if address in seen:
                    raise self._refusal(here, "is another name of an object that already has one")
                seen.add(address)
                self._check_attributes(item, here)
                if isinstance(item, self.h5py.h5g.GroupID):
                    stack.append((item, here, depth + 1))
                elif isinstance(item, self.h5py.h5d.DatasetID):
                    self._check_dataset(item, here)
                else:
                    raise self._refusal(here, "is neither a group nor an array")

    def _refusal(self, place: str, why: str) -> ConversionError:
        shown = "".join(mark if mark.isprintable() else "?" for mark in place[-200:])
        return ConversionError(f"{self.title}: {shown or '/'}: {why}")

    def _address(self, item: Any) -> int:
        return int(self.h5py.h5o.get_info(item).addr)

    def _names(self, group: Any, place: str) -> Iterator[bytes]:
        self.objects += len(group)
        if self.objects > _MAX_OBJECTS:
            raise self._refusal(place, f"more than {_MAX_OBJECTS} objects in the file")
        names: list[bytes] = list(group)
        for name in names:
            self._check_name(name, place)
            yield name

    def _check_name(self, name: bytes, place: str) -> None:
        parts = name.split(b"/")
        if len(name) > _MAX_NAME or b"\0" in name or b"\\" in name or any(part in (b"", b".", b"..") for part in parts):
            raise self._refusal(place, f"holds the name {name[:80]!r}, which leads out of its place")

    def _opened(self, group: Any, name: bytes, place: str) -> Any:
        kind = group.links.get_info(name).type
        if kind != self.h5py.h5l.TYPE_HARD:
            links = {self.h5py.h5l.TYPE_SOFT: "a soft link", self.h5py.h5l.TYPE_EXTERNAL: "a link into another file"}
            raise self._refusal(place, f"is {links.get(kind, 'a link of an unknown kind')}, which is never followed")
        return self.h5py.h5o.open(group, name)

    def _check_attributes(self, item: Any, place: str) -> None:
        h5py = self.h5py
        count = h5py.h5a.get_num_attrs(item)
        if count > _MAX_ATTRIBUTES:
            raise self._refusal(place, f"{count} attributes; {_MAX_ATTRIBUTES} are the most")
        for index in range(count):
            attribute = h5py.h5a.open(item, index=index)
            name = attribute.name.decode("utf-8", "backslashreplace")
            kind = attribute.get_type()
            text = isinstance(kind, h5py.h5t.TypeStringID)
            if not (text or type(kind) in (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID)):
                raise self._refusal(place, f"its attribute {name[:80]!r} is neither text nor numbers")
            values = attribute.get_space().get_simple_extent_npoints()
            if values > _MAX_ATTRIBUTE_VALUES or values * kind.get_size() > _MAX_ATTRIBUTE_BYTES:
                raise self._refusal(place, f"its attribute {name[:80]!r} has {values} values")
            if text and values:
                self._check_texts(attribute, name.startswith((_LAYER_NAMES, _WEIGHT_NAMES)), place)

    def _check_texts(self, attribute: Any, names: bool, place: str) -> None:
        """Texts, which are read to see that they can be, and names that Keras 2 lists and then opens."""
        texts = np.empty(attribute.shape, attribute.dtype)
        attribute.read(texts)
        for text in texts.reshape(-1).tolist() if names else ():
            self._check_name(text if isinstance(text, bytes) else str(text).encode(), place)

    def _check_dataset(self, item: Any, place: str) -> None:
        h5py = self.h5py
        kind, space, how = item.get_type(), item.get_space(), item.get_create_plist()
        if type(kind) not in (h5py.h5t.TypeIntegerID, h5py.h5t.TypeFloatID) or kind.get_size() > _MAX_ITEM_BYTES:
            raise self._refusal(place, "is an array of something else than plain numbers")
        if space.get_simple_extent_type() == h5py.h5s.NULL or space.get_simple_extent_ndims() > _MAX_RANK:
            raise self._refusal(place, f"is an array of no shape, or of more than {_MAX_RANK} dimensions")
        if how.get_layout() == h5py.h5d.VIRTUAL or how.get_external_count():
            raise self._refusal(place, "keeps its data in other files, which is never followed")
        shape = space.get_simple_extent_dims()
        declared = math.prod(shape) * kind.get_size()
        stored = item.get_storage_size()
        self.declared += declared
        self.stored += stored
        if self.declared > _MAX_BYTES:
            raise self._refusal(place, f"declares {shape}: {self.declared} bytes so far, {_MAX_BYTES} are the most")
        if self.stored > self.file_bytes:
            raise self._refusal(place, "claims more stored bytes than the file has")
        if how.get_layout() == h5py.h5d.CHUNKED:
            self._check_chunks(item, how, shape, place)
            bomb = declared > max(_RATIO_FLOOR_BYTES, _MAX_RATIO * stored)
        else:
            offset = item.get_offset()
            unplaced = how.get_layout() == h5py.h5d.CONTIGUOUS and declared > 0 and offset is None
            bomb = stored != declared or unplaced or (offset or 0) + stored > self.file_bytes
        if bomb:
            raise self._refusal(place, f"declares {shape}: {declared} bytes out of {stored} stored ones")

    def _check_chunks(self, item: Any, how: Any, shape: tuple[int, ...], place: str) -> None:
        filters = [how.get_filter(index)[0] for index in range(how.get_nfilters())]
        if any(number not in _FILTERS for number in filters) or len(filters) > len(_FILTERS):
            raise self._refusal(place, f"is packed by the filters {filters}, of which only {list(_FILTERS)} are read")
        chunk = how.get_chunk()
        wanted = math.prod(math.ceil(size / part) for size, part in zip(shape, chunk, strict=True))
        size = math.prod(chunk) * item.get_type().get_size()
        if item.get_num_chunks() != wanted or size > max(_RATIO_FLOOR_BYTES, 2 * math.prod(shape) * _MAX_ITEM_BYTES):
            raise self._refusal(place, f"declares {shape} in pieces of {chunk} that do not fit or are not all there")
