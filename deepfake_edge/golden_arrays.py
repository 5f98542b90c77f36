"""What a bundle keeps to be replayed: real face crops, what Keras makes of them, and what each variant does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.npy import read_npy, write_npy
from deepfake_edge.sealed import pack, unpack
from deepfake_edge.spec import ModelSpec

_AXES: Mapping[str, tuple[str, int]] = {
    "crops": ("uint8", 4),
    "windows": ("int64", 2),
    "features": ("float32", 2),
    "outputs": ("float32", 2),
}


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one variant made of the golden crops when it was converted, on ONNX Runtime.

    Attributes:
        features: float32 (N, F), the backbone's output for each crop; (N, 0) for a fused clip network.
        outputs: float32 (W, C), the final output for each window.
    """

    features: NDArray[np.float32]
    outputs: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Golden:
    """A few real face crops and what Keras makes of them, to be replayed on a device.

    Attributes:
        crops: uint8 (N, S, S, 3), channels in the spec's order, before (pixel - mean) * scale.
        windows: int64 (W, frames), which crops make up each window ((N, 1) for a per-frame model).
        features: float32 (N, F), Keras's backbone output for each crop; (N, 0) for a fused clip network, which has no
            backbone to compare.
        outputs: float32 (W, C), Keras's final output for each window.
    """

    crops: NDArray[np.uint8]
    windows: NDArray[np.int64]
    features: NDArray[np.float32]
    outputs: NDArray[np.float32]


def write_golden(golden: Golden | Outputs) -> bytes:
    """The arrays as bytes, the same every time."""
    return pack({f"{item.name}.npy": write_npy(getattr(golden, item.name)) for item in fields(golden)})


def read_golden(data: bytes, name: str, spec: ModelSpec) -> Golden:
    """Read what `write_golden` wrote of a `Golden`.

    Args:
        data: the bytes.
        name: what to call them in a message.
        spec: what the shapes must fit.
    Raises:
        BundleError, KeyError, ValueError: they are something else.
    """
    golden = Golden(**_arrays(data, name, Golden))
    crops, windows, side = len(golden.crops), len(golden.windows), spec.crop.size_px
    shapes = (golden.crops.shape, golden.windows.shape, golden.features.shape[:1], golden.outputs.shape)
    if shapes != ((crops, side, side, 3), (windows, spec.clip.frames), (crops,), (windows, len(spec.classes))):
        raise ValueError(f"{name}: arrays of shapes {shapes} do not fit the spec")
    if golden.windows.min() < 0 or golden.windows.max() >= crops:
        raise ValueError(f"{name}: windows name crops that are not there")
    return golden


def read_outputs(data: bytes, name: str, golden: Golden) -> Outputs:
    """Read what `write_golden` wrote of `Outputs` for the same crops and windows.

    Raises:
        BundleError, KeyError, ValueError: they are something else.
    """
    outputs = Outputs(**_arrays(data, name, Outputs))
    check_outputs(outputs, name, golden)
    return outputs


def check_outputs(outputs: Outputs, name: str, golden: Golden) -> None:
    """Refuse outputs that are not of the golden crops and windows. Raises ValueError."""
    for item in fields(Outputs):
        found, wanted = getattr(outputs, item.name).shape, getattr(golden, item.name).shape
        if found != wanted:
            raise ValueError(f"{name}: {item.name} of shape {found}, wanted {wanted}")


def _arrays(data: bytes, name: str, kind: type[Golden] | type[Outputs]) -> dict[str, NDArray[Any]]:
    members = unpack(data, name)
    return {item.name: _array(members[f"{item.name}.npy"], f"{name}: {item.name}", item.name) for item in fields(kind)}


def _array(content: bytes, name: str, which: str) -> NDArray[Any]:
    array = read_npy(content, name)
    wanted, dimensions = _AXES[which]
    # Only the second axis of the features may be empty.
    empty = 0 in array.shape[: 1 if which == "features" else None]
    if array.dtype != np.dtype(wanted) or array.ndim != dimensions or empty:
        raise ValueError(f"{name}: wanted {wanted} with {dimensions} axes, got {array.dtype} {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: values are not finite")
    return array
