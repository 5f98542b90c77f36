"""Arrays as .npy bytes, read without trusting what they say of themselves."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

DTYPES = ("float32", "int64", "uint8")


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
    buffer = io.BytesIO(content)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ValueError(f"{name}: wanted version 1.0 of the npy format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(buffer)
    if dtype not in DTYPES or fortran:
        raise ValueError(f"{name}: wanted an array of {', '.join(DTYPES)} in C order, got {dtype}")
    if math.prod(shape) * dtype.itemsize != len(content) - buffer.tell():
        raise ValueError(f"{name}: its size is not what its header says")
    array: NDArray[Any] = np.frombuffer(content, dtype, offset=buffer.tell()).reshape(shape).copy()
    return array
