"""Arrays as bytes come back as they were, and what is none is a ValueError whatever it says."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from deepfake_edge.npy import DTYPES, read_npy, write_npy


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3,), (0, 2), (2, 3, 4, 1)])
def test_arrays_come_back(shape, dtype):
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    found = read_npy(write_npy(array), "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': (), 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 150 + ",), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, " + "9" * 30 + "), }",
        "{'descr': ((",
        "-" * 9000 + "1",
        "(" * 150,
        '"""',
        "\x00\xff",
        "",
    ],
)
def test_headers_that_numpy_does_not_write(header):
    text = header.encode("latin1") + b"\n"
    with pytest.raises(ValueError, match="x: "):
        read_npy(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(4), "x")


def test_what_is_cut_short():
    whole = write_npy(np.zeros(3, np.float32))
    for size in range(len(whole)):
        with pytest.raises(ValueError, match="x: "):
            read_npy(whole[:size], "x")
