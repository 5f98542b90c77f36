"""One still picture from a file: its size is known before it is decoded, and a missing end is noticed."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfake_edge.data import Pixels
from deepfake_edge.errors import SourceError
from deepfake_edge.optional import require

cv2 = require("cv2")

MAX_PIXELS = 50_000_000
# The largest uncompressed picture: four channels of 16 bits, and room for metadata.
_BYTES_A_PIXEL = 8
_METADATA_BYTES = 64 << 20
_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_END = b"\xff\xd9"
_JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 (H, W, 3) BGR, turned upright by its EXIF orientation.
        missing: what of the file is not in `pixels`; None when all of it is.
    """

    pixels: Pixels
    missing: str | None


@dataclass(frozen=True, slots=True)
class _Header:
    kind: str
    width: int
    height: int
    whole: bool
    several: bool = False


def read_picture(path: Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode JPEG, PNG, WebP, BMP or TIFF; grey, alpha and 16 bits become 8-bit BGR.

    Raises:
        SourceError: not a file, not one of these, more than `max_pixels`, or not decodable.
    """
    try:
        if not path.is_file():
            raise SourceError(f"{path}: {'is not a regular file' if path.exists() else 'does not exist'}")
        limit = max_pixels * _BYTES_A_PIXEL + _METADATA_BYTES
        if path.stat().st_size > limit:
            raise SourceError(f"{path}: more than the {limit} bytes that {max_pixels} pixels can take")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from None
    header = _header(path, data)
    if header.width * header.height > max_pixels:
        raise SourceError(f"{path}: {header.width}x{header.height} is more than the {max_pixels} pixels allowed")
    if header.kind == "JPEG" and not header.whole:
        # Without an end mark OpenCV gives up on the part that is there.
        data += _JPEG_END
    try:
        # From memory, because imread takes '%' in a name for a pattern and knows no unicode on Windows.
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise SourceError(f"{path}: a damaged {header.kind} picture; it cannot be decoded")
    missing = None
    if not header.whole:
        missing = f"the {header.kind} picture is cut short"
    elif header.several:
        missing = "holds several pictures, of which only the first was read"
    return Picture(pixels, missing)


def _header(path: Path, data: bytes) -> _Header:
    if not data:
        raise SourceError(f"{path}: is empty")
    readers = (
        (data.startswith(b"\xff\xd8\xff"), _jpeg),
        (data.startswith(b"\x89PNG\r\n\x1a\n"), _png),
        (data[:4] == b"RIFF" and data[8:12] == b"WEBP", _webp),
        (data.startswith(b"BM"), _bmp),
        (data.startswith((b"II*\0", b"MM\0*")), _tiff),
    )
    for matches, reader in readers:
        if matches:
            try:
                return reader(data)
            except (struct.error, IndexError, KeyError):
                raise SourceError(f"{path}: a damaged picture; its header gives no size") from None
    raise SourceError(f"{path}: not a picture; wanted JPEG, PNG, WebP, BMP or TIFF")


def _jpeg(data: bytes) -> _Header:
    position, size = 2, None
    while True:
        while data[position] != 0xFF:
            position += 1
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in _JPEG_BARE_MARKERS:
            continue
        if marker == 0xDA:
            break
        if marker in _JPEG_FRAME_MARKERS:
            size = struct.unpack_from(">HH", data, position + 3)
        position += struct.unpack_from(">H", data, position)[0]
    if size is None:
        raise KeyError("SOF")
    # Within the picture's own data 0xFF is never followed by 0xD9; a thumbnail's end mark lies before it, and
    # what phones append (a short film, a second view) lies behind the mark.
    return _Header("JPEG", size[1], size[0], data.find(_JPEG_END, position) >= 0)


def _png(data: bytes) -> _Header:
    width, height = struct.unpack_from(">II", data, 16)
    position, several = 8, False
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            several = struct.unpack_from(">I", data, position + 8)[0] > 1
        position += 12 + length
        if kind == b"IEND" and position <= len(data):
            return _Header("PNG", width, height, True, several)
    return _Header("PNG", width, height, False)


def _webp(data: bytes) -> _Header:
    whole = 8 + struct.unpack_from("<I", data, 4)[0] <= len(data)
    kind, several = data[12:16], False
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        # The animation flag, and a chunk for each picture.
        several = bool(data[20] & 2) and data.count(b"ANMF", 30) > 1
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    else:
        raise KeyError(kind)
    return _Header("WebP", width, height, whole, several)


def _bmp(data: bytes) -> _Header:
    whole = struct.unpack_from("<I", data, 2)[0] <= len(data)
    if struct.unpack_from("<I", data, 14)[0] == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = map(abs, struct.unpack_from("<ii", data, 18))
    return _Header("BMP", width, height, whole)


def _tiff(data: bytes) -> _Header:
    order = "<" if data[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", data, 4)[0]
    sides = {}
    entries = struct.unpack_from(order + "H", data, start)[0]
    for entry in range(entries):
        tag, kind = struct.unpack_from(order + "HH", data, start + 2 + entry * 12)
        if tag in (256, 257):
            sides[tag] = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, start + 10 + entry * 12)[0]
    # Its strips may lie anywhere; libtiff refuses the picture when one is missing.
    return _Header("TIFF", sides[256], sides[257], True, _more_pages(data, order, start + 2 + entries * 12))


def _more_pages(data: bytes, order: str, link: int) -> bool:
    """Whether another page follows the link behind a TIFF's first; its smaller copies and masks are none."""
    seen = set()
    try:
        while (start := struct.unpack_from(order + "I", data, link)[0]) and start not in seen:
            seen.add(start)
            entries = struct.unpack_from(order + "H", data, start)[0]
            places = range(start + 2, start + 2 + entries * 12, 12)
            kinds = [struct.unpack_from(order + "HHII", data, place) for place in places]
            if not any(tag == 254 and value & 5 for tag, _, _, value in kinds):
                return True
            link = start + 2 + entries * 12
    except struct.error:
        # A link to what is not there promises a page as well; no link at all promises none.
        return bool(seen)
    return False
