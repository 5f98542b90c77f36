"""`parity.Reference` as bytes: what crosses from the conversion process to its parent."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from numpy.typing import NDArray

from deepfake_edge.converters.reference import Reference
from deepfake_edge.errors import ConversionError, DeepfakeEdgeError
from deepfake_edge.golden_arrays import Golden
from deepfake_edge.npy import read_npy, write_npy
from deepfake_edge.sealed import pack, unpack

_GOLDEN = "golden_"
_WHAT = "what the conversion process says of the source"


def pack_arrays(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Named arrays, stored one after another."""
    return pack({f"{name}.npy": write_npy(array) for name, array in arrays.items()})


def unpack_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Read what `pack_arrays` wrote; no array can be larger than the whole.

    Raises:
        BundleError, ValueError: it is something else.
    """
    members = unpack(data, _WHAT)
    return {name.removesuffix(".npy"): read_npy(content, name) for name, content in members.items()}


def pack_truth(truth: Reference) -> bytes:
    """Every array of a reference that is there."""
    arrays = {item.name: getattr(truth, item.name) for item in fields(Reference) if item.name != "golden"}
    arrays |= {_GOLDEN + item.name: getattr(truth.golden, item.name) for item in fields(Golden)}
    return pack_arrays({name: array for name, array in arrays.items() if array is not None})


def unpack_truth(data: bytes) -> Reference:
    """Read what `pack_truth` wrote; nothing in it is trusted to be more than arrays of numbers.

    Raises:
        ConversionError: it is something else.
    """
    try:
        arrays = unpack_arrays(data)
        golden = Golden(**{item.name: arrays.pop(_GOLDEN + item.name) for item in fields(Golden)})
        return Reference(golden=golden, **arrays)
    except (DeepfakeEdgeError, ValueError, KeyError, TypeError) as error:
        raise ConversionError(f"{_WHAT} cannot be read: {error}") from error
