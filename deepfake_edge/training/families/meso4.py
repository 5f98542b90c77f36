"""Meso4: Afchar, Nozick, Yamagishi and Echizen, "MesoNet: a Compact Facial Video Forgery Detection Network",
WIFS 2018 (https://arxiv.org/abs/1809.00888). A per-frame model; its single output means *real*.
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, picture_sizes

# filters, side of the kernel, side of the pooling that follows
_BLOCKS = ((8, 3, 2), (8, 5, 2), (16, 5, 2), (16, 5, 4))
_WEIGHTS = 28  # 2 of each convolution and 4 of its normalisation, 2 of each of two dense layers


def build_meso4(size_px: int = 256) -> Any:
    """Build the untrained model: (size_px, size_px, 3) in 0..1, RGB -> one sigmoid of *real*."""
    keras = workshop.keras()
    layers = keras.layers
    crops = keras.Input((size_px, size_px, 3))
    values = crops
    for filters, side, pool in _BLOCKS:
        values = layers.Conv2D(filters, side, padding="same", activation="relu")(values)
        values = layers.BatchNormalization()(values)
        values = layers.MaxPooling2D(pool, padding="same")(values)
    values = layers.Dropout(0.5)(layers.Flatten()(values))
    values = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(16)(values))
    real = layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(values))
    return keras.Model(crops, real, name="meso4")


def _sizes(model: Any) -> Sizes | None:
    return picture_sizes(model, _WEIGHTS)


# The published scores come out with Pillow's bicubic resize of the whole face crop. The published crops are squares
# whose side is 1.03 to 1.3 times the height of the face's box.
MESO4 = Family(
    name="meso4",
    spec=ModelSpec(
        family="meso4",
        crop=CropSpec(
            size_px=256, fit="square", margin=1.2, resize="bicubic", mean=(0.0, 0.0, 0.0), scale=(1 / 255,) * 3
        ),
        clip=ClipSpec(frames=1),
        classes=("real",),
        activation="sigmoid",
    ),
    build=build_meso4,
    sizes=_sizes,
)
