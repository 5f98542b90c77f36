"""Architectures that the converter knows by name: how they are built, and what they expect of the world."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from deepfake_edge.training.families.cnn import CNN
from deepfake_edge.training.families.cnn_lstm import CNN_LSTM
from deepfake_edge.training.families.family import Family, Sizes
from deepfake_edge.training.families.meso4 import MESO4
from deepfake_edge.training.families.mesoinception4 import MESOINCEPTION4
from deepfake_edge.training.families.mobile_gru import MOBILE_GRU
from deepfake_edge.training.families.resnet_lstm import RESNET_LSTM
from deepfake_edge.training.families.resnext50_lstm import RESNEXT50_LSTM
from deepfake_edge.training.families.xception_conv_rnn import XCEPTION_CONV_RNN
from deepfake_edge.training.families.xception_lstm import XCEPTION_LSTM

__all__ = ["FAMILIES", "Family", "Sizes"]

_CLIPS = (XCEPTION_LSTM, RESNET_LSTM, XCEPTION_CONV_RNN, CNN_LSTM, RESNEXT50_LSTM, MOBILE_GRU)
_PICTURES = (CNN, MESO4, MESOINCEPTION4)

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (*_CLIPS, *_PICTURES)})
