"""Architectures that the converter knows by name: how they are built, and what they expect of the world."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deepfake_edge.training.families.family import Family
from deepfake_edge.training.families.meso4 import MESO4
from deepfake_edge.training.families.xception_lstm import XCEPTION_LSTM

__all__ = ["FAMILIES", "Family"]

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (XCEPTION_LSTM, MESO4)})
