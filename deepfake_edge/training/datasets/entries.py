"""What a data set says of its clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

TrueLabel: TypeAlias = Literal["real", "fake"]
Split: TypeAlias = Literal["train", "val", "test"]

LABELS: tuple[TrueLabel, ...] = ("real", "fake")
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class ClipEntry:
    """One clip of a data set.

    Attributes:
        path: the file.
        label: the truth.
        split: the part that it belongs to.
        dataset: the data set's name.
        manipulation: how a fake was made, in the data set's own words; None where it is real or not said.
        identities: who is seen or was put in; empty where the data set names nobody.
        group: clips of one group never cross a split: an identity, an original, or the file itself.
    """

    path: Path
    label: TrueLabel
    split: Split
    dataset: str
    manipulation: str | None
    identities: tuple[str, ...]
    group: str
