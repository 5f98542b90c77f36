"""Arrays as .npy bytes, read without trusting what they say of themselves."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = ("float32", "int64", "uint8")
_MARK = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(<f4|<i8|\|u1)', 'fortran_order': False, 'shape': \(((?:\d{1,10},? ?){0,8})\), \} *\n"
)


def write_npy(array: NDArray[Any]) -> bytes:
    """An array in version 1.0 of the format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), (1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_npy(content: bytes, name: str) -> NDArray[Any]:
    """Read what `write_npy` wrote.

    Args:
        content: the whole file.
        name: what to call it in a message.
    Raises:
        ValueError: it is of another version, type or order, or its stated size is not that of what follows.
    """
    if not content.startswith(_MARK):
        raise ValueError(f"{name}: wanted version 1.0 of the npy format")
    start = len(_MARK) + 2
    end = start + int.from_bytes(content[len(_MARK) : start], "little")
    # NumPy reads the header as Python's syntax, which fails in as many ways as Python can.
    header = _HEADER.fullmatch(content[start:end])
    if header is None:
        raise ValueError(f"{name}: wanted an array of {', '.join(DTYPES)} in C order, got {content[start:end][:80]!r}")
    dtype, shape = np.dtype(header[1].decode()), tuple(map(int, header[2].replace(b",", b" ").split()))
    if math.prod(shape) * dtype.itemsize != len(content) - end:
        raise ValueError(f"{name}: its size is not what its header says")
    array: NDArray[Any] = np.frombuffer(content, dtype, offset=end).reshape(shape).copy()
    return array
