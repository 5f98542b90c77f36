"""MesoInception4: Afchar, Nozick, Yamagishi and Echizen, "MesoNet: a Compact Facial Video Forgery Detection Network",
WIFS 2018 (https://arxiv.org/abs/1809.00888). A per-frame model; its single output means *real*.

28,615 trainable parameters, as published. Its authors' weight files, by order of layers, fit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, picture_sizes
from deepfake_edge.training.families.meso4 import MESO4

# Filters of the four branches; of the last three, the dilation of the 3x3 convolution is their place.
_INCEPTIONS = ((1, 4, 4, 2), (2, 4, 4, 2))
_CONVOLUTIONS = 2
_WEIGHTS = 52  # 7 convolutions in each inception, 2 more, 4 normalisations, 2 dense layers


def build_mesoinception4(size_px: int = 256) -> Any:
    """Build the untrained model: (size_px, size_px, 3) in 0..1, RGB -> one sigmoid of *real*."""
    keras = workshop.keras()
    layers = keras.layers
    crops = keras.Input((size_px, size_px, 3))
    values = crops
    for filters in _INCEPTIONS:
        values = layers.BatchNormalization()(_inception(values, filters))
        values = layers.MaxPooling2D(2, padding="same")(values)
    for place in range(_CONVOLUTIONS):
        values = layers.Conv2D(16, 5, padding="same", activation="relu")(values)
        values = layers.BatchNormalization()(values)
        values = layers.MaxPooling2D((2, 4)[place], padding="same")(values)
    values = layers.Dropout(0.5)(layers.Flatten()(values))
    values = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(16)(values))
    real = layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(values))
    return keras.Model(crops, real, name="mesoinception4")


def _inception(values: Any, filters: tuple[int, int, int, int]) -> Any:
    layers = workshop.keras().layers
    branches = [layers.Conv2D(filters[0], 1, padding="same", activation="relu")(values)]
    for dilation, count in enumerate(filters[1:], start=1):
        branch = layers.Conv2D(count, 1, padding="same", activation="relu")(values)
        branches.append(layers.Conv2D(count, 3, dilation_rate=dilation, padding="same", activation="relu")(branch))
    return layers.Concatenate()(branches)


def _sizes(model: Any) -> Sizes | None:
    return picture_sizes(model, _WEIGHTS)


MESOINCEPTION4 = Family(
    name="mesoinception4",
    spec=replace(MESO4.spec, family="mesoinception4"),
    build=build_mesoinception4,
    sizes=_sizes,
)
