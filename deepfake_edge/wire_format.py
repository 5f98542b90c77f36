"""Protobuf's wire format, walked without a schema: a message is a row of numbered fields.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

from deepfake_edge.errors import BundleError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_NOT_LAST_BYTES = bytes(range(0x80, 0x100))


def fields(message: memoryview, name: str) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and its value: an unsigned number, or the bytes of all other kinds.

    Args:
        message: uint8 (N,).
        name: what to call the file in a message.
    Raises:
        BundleError: the bytes are no protobuf message.
    """
    position, end = 0, len(message)
    while position < end:
        key = message[position]
        position += 1
        if key >= 0x80:
            key, position = _varint(message, position - 1, name)
        # Parsers keep the low 32 bits of a key, so a longer one is another field to them than to this walk.
        if not 8 <= key < 1 << 32:
            raise BundleError(f"{name}: is not an ONNX file (field key {key})")
        number, kind = key >> 3, key & 7
        if kind == _BYTES:
            size, position = _varint(message, position, name)
        elif kind == _VARINT:
            value, position = _varint(message, position, name)
            yield number, value
            continue
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise BundleError(f"{name}: is not an ONNX file (wire type {kind})")
        if size > end - position:
            raise BundleError(f"{name}: is not an ONNX file (cut short)")
        yield number, message[position : position + size]
        position += size


def numbers(value: int | memoryview, name: str) -> list[int]:
    """One part of a repeated number: a single one, or several packed together. Raises BundleError."""
    if isinstance(value, int):
        return [value]
    found, position = [], 0
    while position < len(value):
        number, position = _varint(value, position, name)
        found.append(number)
    return found


def count_numbers(value: int | memoryview) -> int:
    """How many `numbers` there are, without reading them."""
    return 1 if isinstance(value, int) else len(bytes(value).translate(None, _NOT_LAST_BYTES))


def signed(value: int) -> int:
    """An int64 as the unsigned number that stands for it, read back."""
    return value - (1 << 64) if value >= 1 << 63 else value


def text(value: int | memoryview) -> str:
    """A field as text, whatever it holds."""
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else str(value)


def _varint(message: memoryview, position: int, name: str) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise BundleError(f"{name}: is not an ONNX file (bad number)")
