"""A sealed archive: a stored zip whose comment is the digest of everything before it.

Stored (uncompressed), in a fixed order with fixed timestamps, so that the same members give the same bytes. One
flipped bit anywhere is seen before the zip's own structure is looked at. That is integrity, not authorship: whoever
can rewrite the file can rewrite the digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from deepfake_edge.errors import BundleError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_PREFIX = b"sha256:"
_COMMENT_BYTES = len(_PREFIX) + 64
_END_OF_DIRECTORY_BYTES = 22


def pack(members: Mapping[str, bytes], comment: bytes = b"") -> bytes:
    """Join members, in their order, into a stored zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
        archive.comment = comment
    return buffer.getvalue()


def unpack(data: bytes, name: str) -> dict[str, bytes]:
    """Take a stored zip apart; all members together cannot be larger than the whole.

    Raises:
        BundleError: it is no zip, or a member is compressed, doubled, damaged or shares its bytes with another.
    """
    members: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > len(data):
                raise BundleError(f"{name}: its members say that they are larger than the archive")
            for info in archive.infolist():
                if info.filename in members:
                    raise BundleError(f"{name}: holds {info.filename!r} twice")
                if info.compress_type != zipfile.ZIP_STORED:
                    raise BundleError(f"{name}: {info.filename!r} is compressed")
                members[info.filename] = archive.read(info)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise BundleError(f"{name}: is not a readable archive ({error})") from error
    return members


def seal(members: Mapping[str, bytes]) -> bytes:
    """Join members and seal them."""
    body = pack(members, comment=_PREFIX + b"0" * 64)[:-_COMMENT_BYTES]
    return body + _digest(body)


def unseal(data: bytes, name: str) -> dict[str, bytes]:
    """Check the seal, then take the archive apart.

    Raises:
        BundleError: it is no sealed archive, or differs from what was sealed.
    """
    if len(data) < _END_OF_DIRECTORY_BYTES + _COMMENT_BYTES or not data.startswith(b"PK\x03\x04"):
        raise BundleError(f"{name}: is not a bundle; make one with: deepfake-edge convert MODEL")
    body, seal_found = data[:-_COMMENT_BYTES], data[-_COMMENT_BYTES:]
    if not hmac.compare_digest(seal_found, _digest(body)):
        raise BundleError(
            f"{name}: is damaged or not a bundle (its digest does not match its content); "
            "make one with: deepfake-edge convert MODEL"
        )
    return unpack(data, name)


def write_atomically(data: bytes, path: str | os.PathLike[str]) -> None:
    """Write a file so that a kill or a full disk leaves the old one or the new one. Follows a symbolic link.

    Raises:
        OSError: it cannot be written; an old file is left as it was.
    """
    target = Path(os.path.realpath(path))
    handle, temporary = tempfile.mkstemp(prefix=".deepfake-edge.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # As a file that was opened in the ordinary way; mkstemp makes it the owner's alone.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    # The new file is whole and in its place by now; some file systems cannot sync a folder.
    with contextlib.suppress(OSError):
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _digest(body: bytes) -> bytes:
    return _PREFIX + hashlib.sha256(body).hexdigest().encode("ascii")
