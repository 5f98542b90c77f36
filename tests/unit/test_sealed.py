"""What a sealed archive says of its sizes is held to the bytes that are there."""

from __future__ import annotations

import io
import zipfile

import pytest

from deepfake_edge.errors import BundleError
from deepfake_edge.sealed import pack, unpack


def test_members_that_share_their_bytes_are_refused():
    """Each member's content is the next member's header and content: 40 of them say they are 20 times as large."""
    content, entries = bytes(10_000), []
    for number in range(40):
        info = zipfile.ZipInfo(f"{number:02}")
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(info, content)
        whole, start = buffer.getvalue(), archive.start_dir
        entries.append((start, whole[start:-22]))
        content, end = whole[:start], whole[-22:]
    directory = bytearray()
    for start, entry in entries:
        place = len(content) - start
        directory += entry[:42] + place.to_bytes(4, "little") + entry[46:]
    tail = bytearray(end)
    tail[8:12] = (40).to_bytes(2, "little") * 2
    tail[12:16], tail[16:20] = len(directory).to_bytes(4, "little"), len(content).to_bytes(4, "little")
    data = content + directory + tail
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert sum(info.file_size for info in archive.infolist()) > 20 * len(data)
        assert archive.read("00") == bytes(10_000)
    with pytest.raises(BundleError, match="x: its members say that they are larger than the archive"):
        unpack(data, "x")


def test_what_was_packed_comes_back():
    members = {"a": b"", "b": bytes(range(256))}
    assert unpack(pack(members), "x") == members
