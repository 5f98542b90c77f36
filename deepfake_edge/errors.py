"""Everything this package raises on purpose.

DeepfakeEdgeError
├── InvalidInput          (ValueError)   an argument, array, option or spec value is wrong
├── MissingDependency     (ImportError)  an optional package, model file or system library is absent
├── SourceError                          a video, image, folder or camera cannot be read
├── BundleError                          a bundle is damaged, foreign or from another format
│   └── EngineMismatch                   a device engine does not fit this device
├── ConversionError                      a model cannot be converted; carries every reason
└── InferenceError                       a network failed while it ran, or gave non-finite numbers
    ├── OutOfDeviceMemory                a GPU has too little memory left
    └── DeviceLost                       a GPU's context is gone; only a new process can use it again

A message says what failed, what was wanted, what came, and the next command to run.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BundleError",
    "ConversionError",
    "DeepfakeEdgeError",
    "DeviceLost",
    "EngineMismatch",
    "InferenceError",
    "InvalidInput",
    "MissingDependency",
    "OutOfDeviceMemory",
    "SourceError",
]


class DeepfakeEdgeError(Exception):
    """Root of the tree: `except DeepfakeEdgeError` catches whatever this package raises on purpose."""


class InvalidInput(DeepfakeEdgeError, ValueError):
    """An argument, array, option or spec value is wrong; the message names it."""


class MissingDependency(DeepfakeEdgeError, ImportError):
    """Something optional is not installed; the message names the command that brings it."""


class SourceError(DeepfakeEdgeError):
    """A video, image, folder or camera cannot be opened or read."""


class BundleError(DeepfakeEdgeError):
    """A bundle is damaged, not a bundle, or of a format this version does not read."""


class EngineMismatch(BundleError):
    """A device engine was built for another device, runtime or bundle."""


class ConversionError(DeepfakeEdgeError):
    """A model cannot be converted.

    Attributes:
        reasons: every reason at once, so that they can be mended in one go.
    """

    def __init__(self, summary: str, reasons: Sequence[str] = ()) -> None:
        self.reasons: tuple[str, ...] = tuple(reasons)
        lines = [summary, *(f"  - {reason}" for reason in self.reasons)]
        super().__init__("\n".join(lines))


class InferenceError(DeepfakeEdgeError):
    """A network failed while it ran, or returned numbers that are not finite."""


class OutOfDeviceMemory(InferenceError):
    """A GPU has too little memory left for what was asked; nothing of it was kept."""


class DeviceLost(InferenceError):
    """A GPU's context is gone: nothing on it works in this process any more. Restart the process."""
