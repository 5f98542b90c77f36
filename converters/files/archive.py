"""A `.keras` archive, read here and not by Keras or zipfile: the exact bytes that Keras writes, or nothing.

A zip says everything twice, in its central directory and before each member, and readers differ in which they
believe. Here both must agree, the members must lie back to back from the first byte to the last, and there is no
other name than the three that Keras gives them. Source: PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import collections
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

from deepfake_edge.converters.files import strict_json
from deepfake_edge.errors import ConversionError

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
_MOST_BYTES = {METADATA: 1024**2, CONFIG: strict_json.MAX_BYTES, WEIGHTS: 2 * 1024**3}
# Trained weights are close to noise and hardly shrink; deflate itself can claim up to 1032. A configuration repeats
# itself, and small members may be all zeros, so the ratio counts only above a size that costs nothing.
_MAX_RATIO = 200
_RATIO_FLOOR_BYTES = strict_json.MAX_BYTES

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LOCAL_FIELDS, _CENTRAL_FIELDS, _END_FIELDS = (
    struct.Struct("<4s5H3I2H"),
    struct.Struct("<4s6H3I5H2I"),
    struct.Struct("<4s4H2IH"),
)
_MAX_MEMBERS = 64
_MAX_DIRECTORY_BYTES = 1 << 16
_STORED, _DEFLATED = 0, 8
# Bits 1 and 2 tell how hard deflate tried, bit 11 that names are UTF-8. Encryption, sizes that follow the data,
# patches and masked headers are none of Keras's.
_HARMLESS_FLAGS = 0x0806
_ZIP64_EXTRA, _SEE_EXTRA = 1, 0xFFFFFFFF
_LINK_MODE, _MODE_MASK = 0o120000, 0o170000
_BLOCK_BYTES = 1 << 20


class _Header(NamedTuple):
    """What a member's own header and its entry in the directory both say; sizes in bytes."""

    version: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    stored: int
    size: int


@dataclass(frozen=True, slots=True)
class _Member:
    """One entry of the directory; where its header starts and where its data do."""

    name: str
    header: _Header
    start: int
    data: int = 0


def read_archive(path: Path) -> dict[str, Any]:
    """Check a whole archive and read its configuration.

    Raises:
        ConversionError: it cannot be read, is damaged, is not as Keras writes it, or holds anything but
            metadata.json, config.json and model.weights.h5; carries every wrong member.
    """
    with _opened(path) as file:
        members = _members(file, path)
        for name, member in members.items():
            if name != CONFIG:
                collections.deque(_blocks(file, member, path), maxlen=0)
        text = b"".join(_blocks(file, members[CONFIG], path))
    return strict_json.parse_object(text, f"{path}: {CONFIG}")


def extract_weights(path: Path, target: Path) -> None:
    """Copy an archive's weights into a new file, which is removed again where they turn out damaged.

    Raises:
        ConversionError: see `read_archive`; or the target exists or cannot be written.
    """
    with _opened(path) as file:
        member = _members(file, path)[WEIGHTS]
        try:
            with target.open("xb") as copy:
                try:
                    for block in _blocks(file, member, path):
                        copy.write(block)
                except BaseException:
                    target.unlink()
                    raise
        except OSError as error:
            raise ConversionError(f"{target}: cannot be written: {error.strerror or error}") from error


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror or error}") from error


def _members(file: IO[bytes], path: Path) -> dict[str, _Member]:
    refuse = _refusal(path)
    size = file.seek(0, os.SEEK_END)
    end = _at(file, max(0, size - _END_FIELDS.size), _END_FIELDS.size)
    if len(end) < _END_FIELDS.size or not end.startswith(_END):
        raise refuse("its end is missing, or something follows it")
    _, disk, first_disk, here, count, directory_size, directory, comment = _END_FIELDS.unpack(end)
    if disk or first_disk or here != count or comment or count > _MAX_MEMBERS or directory_size > _MAX_DIRECTORY_BYTES:
        raise refuse("its end record is not as Keras writes it")
    if directory + directory_size != size - _END_FIELDS.size:
        raise refuse("its directory is not where its end record says")
    members, reasons = _directory(_at(file, directory, directory_size), count, refuse)
    if reasons:
        raise ConversionError(f"{path}: is no archive that Keras wrote:", reasons)
    found: dict[str, _Member] = {}
    place = 0
    for member in members:
        if member.start != place:
            raise refuse(f"{member.name} does not begin where the member before it ends")
        data = _check_local(file, member, refuse)
        place = data + member.header.stored
        found[member.name] = replace(member, data=data)
    if place != directory:
        raise refuse("something lies between its members and its directory")
    return found


def _directory(data: bytes, count: int, refuse: Callable[[str], ConversionError]) -> tuple[list[_Member], list[str]]:
    """The members in the order of the directory, and what is wrong with them."""
    members: list[_Member] = []
    reasons: list[str] = []
    at = 0
    for _ in range(count):
        if data[at : at + 4] != _CENTRAL or len(data) - at < _CENTRAL_FIELDS.size:
            raise refuse("its directory is cut short")
        fields = _CENTRAL_FIELDS.unpack_from(data, at)
        header = _Header(*fields[2:10])
        name_size, extra_size, comment_size, disk, _, mode, start = fields[10:]
        at += _CENTRAL_FIELDS.size + name_size + extra_size + comment_size
        if at > len(data):
            raise refuse("its directory is cut short")
        tail = data[at - name_size - extra_size - comment_size : at]
        member = _Member(tail[:name_size].decode("utf-8", "backslashreplace"), header, start)
        reasons += _objections(member, (mode >> 16) & _MODE_MASK, [known.name for known in members])
        if disk or comment_size or _zip64(tail[name_size:], refuse) is not None:
            reasons.append(f"{member.name[:200]!r}: its entry is not as Keras writes it")
        members.append(member)
    if at != len(data):
        raise refuse("its directory holds more than its entries")
    reasons += [f"{name}: is missing" for name in (CONFIG, WEIGHTS) if name not in {item.name for item in members}]
    return members, reasons


def _objections(member: _Member, mode: int, before: list[str]) -> Iterator[str]:
    name, header = member.name, member.header
    if name not in _MOST_BYTES:
        yield f"{name[:200]!r}: {_foreign(name)}"
        return
    if name in before:
        yield f"{name}: stands in it twice"
    if mode == _LINK_MODE:
        yield f"{name}: is a link"
    if header.flags & 1:
        yield f"{name}: is encrypted"
    elif header.flags & ~_HARMLESS_FLAGS:
        yield f"{name}: has the flags {header.flags:#06x}, which Keras does not set"
    if header.method not in (_STORED, _DEFLATED):
        yield f"{name}: is compressed by method {header.method}; wanted stored or deflated"
    elif header.method == _STORED and header.stored != header.size:
        yield f"{name}: {header.stored} bytes stored cannot be {header.size} bytes"
    if header.size > _MOST_BYTES[name]:
        yield f"{name}: says it has {header.size} bytes; {_MOST_BYTES[name]} are the most it may have"
    elif header.size > max(_RATIO_FLOOR_BYTES, _MAX_RATIO * header.stored):
        yield f"{name}: {header.size} bytes out of {header.stored} is more than weights can shrink"


def _foreign(name: str) -> str:
    if name.startswith("assets/"):
        return "holds files for lookup layers, which no video model needs; they are never unpacked"
    if ".." in name or name.startswith(("/", "\\")) or "\\" in name or ":" in name:
        return "would lie outside the archive; it is never unpacked"
    return f"is no member of Keras's; wanted {CONFIG}, {WEIGHTS} and {METADATA}"


def _check_local(file: IO[bytes], member: _Member, refuse: Callable[[str], ConversionError]) -> int:
    """Compare a member's own header with its entry in the directory; returns where its data begin."""
    head = _at(file, member.start, _LOCAL_FIELDS.size)
    if len(head) < _LOCAL_FIELDS.size or not head.startswith(_LOCAL):
        raise refuse(f"{member.name} has no header where the directory says")
    _, *repeated, name_size, extra_size = _LOCAL_FIELDS.unpack(head)
    header = _Header(*repeated)
    tail = _at(file, member.start + len(head), name_size + extra_size)
    large = _zip64(tail[name_size:], refuse)
    if large is not None and (header.size, header.stored) == (_SEE_EXTRA, _SEE_EXTRA):
        # Writers that do not know the sizes yet reserve the large form, whatever they turn out to be.
        header = header._replace(size=large[0], stored=large[1], version=member.header.version)
    if (tail[:name_size], header) != (member.name.encode(), member.header):
        raise refuse(f"{member.name}'s own header and the directory say different things")
    return member.start + len(head) + len(tail)


def _zip64(extra: bytes, refuse: Callable[[str], ConversionError]) -> tuple[int, int] | None:
    """The size and stored size of a ZIP64 field, if there is one."""
    found: tuple[int, int] | None = None
    at = 0
    while at < len(extra):
        kind, size = struct.unpack_from("<2H", extra, at) if len(extra) - at >= 4 else (0, 1 << 16)
        if size > len(extra) - at - 4 or (kind == _ZIP64_EXTRA and (size != 16 or found is not None)):
            raise refuse("an extra field is damaged")
        if kind == _ZIP64_EXTRA:
            found = struct.unpack_from("<2Q", extra, at + 4)
        at += 4 + size
    return found


def _blocks(file: IO[bytes], member: _Member, path: Path) -> Iterator[bytes]:
    """A member's content, never more than it said; complete and of the right checksum, or an error at the end."""
    damaged = _refusal(path)(f"{member.name} is damaged")
    crc = total = 0
    for block in _inflated(file, member, damaged) if member.header.method == _DEFLATED else _raw(file, member, damaged):
        total += len(block)
        if total > member.header.size:
            raise damaged
        crc = zlib.crc32(block, crc)
        yield block
    if (total, crc) != (member.header.size, member.header.crc):
        raise damaged


def _raw(file: IO[bytes], member: _Member, damaged: ConversionError) -> Iterator[bytes]:
    left = member.header.stored
    file.seek(member.data)
    while left:
        block = file.read(min(left, _BLOCK_BYTES))
        if not block:
            raise damaged
        left -= len(block)
        yield block


def _inflated(file: IO[bytes], member: _Member, damaged: ConversionError) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for packed in _raw(file, member, damaged):
            if unpacker.eof:
                raise damaged
            yield unpacker.decompress(packed, _BLOCK_BYTES)
            while unpacker.unconsumed_tail:
                yield unpacker.decompress(unpacker.unconsumed_tail, _BLOCK_BYTES)
        yield unpacker.flush()
    except zlib.error:
        raise damaged from None
    if not unpacker.eof or unpacker.unused_data:
        raise damaged


def _at(file: IO[bytes], position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _refusal(path: Path) -> Callable[[str], ConversionError]:
    return lambda why: ConversionError(f"{path}: is a damaged or foreign .keras archive: {why}")
