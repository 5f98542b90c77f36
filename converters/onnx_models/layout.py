"""How an ONNX model wants its frames: which axis of its input is what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deepfake_edge.spec import MAX_CLIP_FRAMES, MAX_SIZE_PX

# N batch, T time, C colours, H and W the crop's sides.
_LAYOUTS = ("NCHW", "NHWC", "NTCHW", "NTHWC", "NCTHW")
_MAX_BATCH = 64
_FORMS = "(batch, 3, S, S), (batch, S, S, 3), (batch, T, 3, S, S), (batch, T, S, S, 3) or (batch, 3, T, S, S)"


@dataclass(frozen=True, slots=True)
class Layout:
    """A model's input, every axis known but the batch's.

    Attributes:
        axes: a letter an axis: N batch, T time, C colours, H and W the crop's sides.
        batch: the batch that the model insists on; None when it takes any.
        frames: T; 1 for a per-frame model.
        size_px: S.
    """

    axes: str
    batch: int | None
    frames: int
    size_px: int

    @property
    def plain(self) -> tuple[int, ...]:
        """The axes after the batch as the product has them: (3, S, S) or (T, 3, S, S)."""
        crop = (3, self.size_px, self.size_px)
        return (self.frames, *crop) if "T" in self.axes else crop

    @property
    def order(self) -> tuple[int, ...]:
        """The transposition from (N, *plain) to the model's own axes."""
        return tuple(("NTCHW" if "T" in self.axes else "NCHW").index(axis) for axis in self.axes)


def find_layout(shape: tuple[int | None, ...], given: Mapping[str, Any]) -> tuple[Layout | None, list[str]]:
    """Tell the axes of an input apart.

    Args:
        shape: as the model declares it, None for an open axis.
        given: the user's `frames` and `size_px`, for open axes.
    Returns:
        the layout, or None and every reason why there is none.
    """
    shown = f"({', '.join('?' if axis is None else str(axis) for axis in shape)})"
    found = [axes for axes in _LAYOUTS if len(axes) == len(shape) and _fits(axes, shape)]
    if not found:
        return None, [f"its input is {shown}; wanted {_FORMS}, of square crops in 3 colours"]
    if len(found) > 1:
        return None, [f"its input {shown} may be {' or '.join(found)}; export it with its other axes fixed"]
    sizes = dict(zip(found[0], shape, strict=True))
    side = next((sizes[axis] for axis in "HW" if sizes[axis] is not None), given.get("size_px"))
    frames = 1 if "T" not in sizes else given.get("frames") if sizes["T"] is None else sizes["T"]
    reasons = []
    if shape[0] is not None and not 1 <= shape[0] <= _MAX_BATCH:
        reasons.append(f"it insists on a batch of {shape[0]}; export it with a dynamic batch axis")
    if side is None:
        reasons.append("the model leaves the size of a crop open; give it: --spec size_px=N")
    elif not 1 <= side <= MAX_SIZE_PX:
        reasons.append(f"wanted crops of 1 to {MAX_SIZE_PX} pixels, found {side}")
    if frames is None:
        reasons.append("the model leaves the number of frames open; give it: --spec frames=N")
    elif not 1 <= frames <= MAX_CLIP_FRAMES:
        reasons.append(f"wanted clips of 1 to {MAX_CLIP_FRAMES} frames, found {frames}")
    if reasons or side is None or frames is None:
        return None, reasons
    return Layout(found[0], shape[0], frames, side), []


def _fits(axes: str, shape: tuple[int | None, ...]) -> bool:
    sizes = dict(zip(axes, shape, strict=True))
    sides = {sizes["H"], sizes["W"]} - {None}
    return sizes["C"] == 3 and len(sides) <= 1
