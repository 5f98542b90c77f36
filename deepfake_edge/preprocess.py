"""From frames to a network's input, natively: the typed face of `deepfake_edge._native`.

One pass cuts, resizes, reorders, normalises and lays out in planes, over only the pixels that a crop needs. The
numbers are those of the library that a resize is named after (OpenCV or Pillow), rounded to bytes where it rounds.
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np

from deepfake_edge.data import Floats, Frame, PixelFormat, Pixels
from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.spec import CropSpec
from deepfake_edge.threads import check_threads

try:
    from deepfake_edge import _native
except ImportError as error:
    raise MissingDependency(
        f"the native module is missing ({error}). In a checkout, run: pip install . and start Python in another "
        "folder, or: pip install -e ."
    ) from error

KERNEL_VARIABLE = "DEEPFAKE_EDGE_KERNEL"


def crop_batch(
    image: Pixels | Frame,
    boxes_xyxy: Floats,
    spec: CropSpec,
    out: Floats | None = None,
    threads: int = 1,
) -> Floats:
    """Crop, resize and normalise faces into a batch.

    A box is scaled by `spec.margin` around its centre. `stretch` rounds its sides to whole pixels,
    floor(v + 0.5), and cuts them at the frame; a side that rounds to nothing becomes the one pixel that holds
    its centre. `square` takes the square around the centre with the longer side, rounded likewise and at least
    1 pixel, and reads 0 outside the frame.

    Args:
        image: uint8 (H, W, 3) BGR, or a Frame in BGR, RGB or NV12 (BT.601 limited range, even sides). Rows may
            be padded; pixels within a row are contiguous. At most 32768 pixels a side.
        boxes_xyxy: float32 (N, 4), C-contiguous, pixels; may leave the frame. N may be 0.
        spec: how a crop is cut and normalised.
        out: float32 (N, 3, S, S), C-contiguous, yours, overwritten; allocated when None.
        threads: how many threads share the work, at most; the result does not depend on it.
    Returns:
        `out`: float32 (N, 3, S, S), planes in `spec.channel_order`, (pixel - mean) * scale.
    Raises:
        InvalidInput: an array's type, shape, contiguity or memory is wrong (nothing is copied silently), or a
            box has numbers that are not finite, no area, no pixel inside the frame, or a square of more than
            32768 pixels; names the argument, and the box by its index. `out` is untouched then.
    """
    pixels, layout = (image.pixels, image.format) if isinstance(image, Frame) else (image, "BGR")
    check_threads(threads)
    if out is None:
        count = len(boxes_xyxy) if isinstance(boxes_xyxy, np.ndarray) and boxes_xyxy.ndim else 0
        out = np.empty((count, 3, spec.size_px, spec.size_px), np.float32)
    try:
        _native.crop_batch(pixels, layout, boxes_xyxy, out, _options(spec), threads, kernel())
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    return out


def plan_crops(width: int, height: int, layout: PixelFormat, boxes_xyxy: Floats, spec: CropSpec) -> Pixels:
    """What the CUDA kernel must know to make `crop_batch`'s crops of a frame that lies in a GPU's memory.

    Args:
        width: pixels in a row of the frame.
        height: its rows.
        layout: its format; NV12 has even sides.
        boxes_xyxy: as for `crop_batch`, at most 4096.
        spec: how a crop is cut and normalised.
    Returns:
        uint8 (bytes,): where each crop lies and its filters, in the layout of `native/cuda/plan.hpp`.
    Raises:
        InvalidInput: as `crop_batch`, or there are more boxes.
    """
    try:
        return _native.plan_crops(width, height, layout, boxes_xyxy, _options(spec))
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def kernel() -> str:
    """The kernels in use: the best that this CPU runs, or those that DEEPFAKE_EDGE_KERNEL names.

    Raises:
        InvalidInput: this CPU cannot run what the variable names.
    """
    wanted = os.environ.get(KERNEL_VARIABLE)
    if wanted and wanted not in kernels():
        raise InvalidInput(f"{KERNEL_VARIABLE}: wanted one of {', '.join(kernels())}, got {wanted!r}")
    return wanted or kernels()[0]


@lru_cache(maxsize=1)
def kernels() -> tuple[str, ...]:
    """Every kernel set that this CPU can run, the best first."""
    return tuple(_native.kernels())


@lru_cache(maxsize=64)
def _options(spec: CropSpec) -> _native.CropOptions:
    return _native.CropOptions(
        size_px=spec.size_px,
        margin=spec.margin,
        fit=spec.fit,
        resize=spec.resize,
        channel_order=spec.channel_order,
        mean=spec.mean,
        scale=spec.scale,
    )
