"""What the parent asks its conversion process to open, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deepfake_edge.converters.files.source_file import Kind

# How long the check of an HDF5 file may take before the process ends itself.
HDF5_WALL_S = 10
# Names of the checked copies in the process's folder, by kind of file.
COPIES: Mapping[Kind, str] = {
    "archive": "model.weights.h5",
    "hdf5": "model.h5",
    "onnx": "model.onnx",
    "saved_model": "saved_model",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What to open, and what the user says of it.

    Attributes:
        title: the user's name for the file, for messages.
        kind: what it is; its checked copy lies in the process's folder under `COPIES[kind]`.
        config: an archive's configuration, checked; None to use its weights only.
        family: `NAME` or `NAME:size=value,...`; None lets the structure tell.
        given: the user's spec values, parsed.
        fused: convert a clip model whole.
        notes: what a user should know so far.
    """

    title: str
    kind: Kind
    config: Mapping[str, Any] | None = None
    family: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    fused: bool = False
    notes: tuple[str, ...] = ()
