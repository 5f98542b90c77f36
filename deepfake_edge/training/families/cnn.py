"""CNN: a plain per-frame network, ours, small enough to be trained on a CPU.

Four times a 3x3 convolution, batch normalisation, ReLU and a pooling that halves the side, with twice the filters each
time; then the mean over the picture, dropout and one sigmoid of *fake*. The mean makes the last layer independent of
the crop's size, and of where in it a trace is found.
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, picture_sizes

_BLOCKS = 4
_WEIGHTS = 26  # 2 of each convolution and 4 of its normalisation, 2 of the last layer


def build_cnn(size_px: int = 128, filters: int = 32) -> Any:
    """Build the untrained model: (size_px, size_px, 3) in 0..1, RGB -> one sigmoid of *fake*.

    Args:
        size_px: side of a crop, 16 or more.
        filters: of the first convolution; each next one has twice as many.
    """
    keras = workshop.keras()
    layers = keras.layers
    crops = keras.Input((size_px, size_px, 3))
    values = crops
    for block in range(_BLOCKS):
        values = layers.Conv2D(filters * 2**block, 3, padding="same")(values)
        values = layers.ReLU()(layers.BatchNormalization()(values))
        values = layers.MaxPooling2D(2)(values)
    features = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(values))
    return keras.Model(crops, layers.Dense(1, activation="sigmoid")(features), name="cnn")


def _sizes(model: Any) -> Sizes | None:
    window = picture_sizes(model, _WEIGHTS)
    if window is None:
        return None
    first, last = (tuple(model.weights[place].shape) for place in (0, -2))
    filters = first[-1] if first else 0
    return {**window, "filters": filters} if last == (filters * 2 ** (_BLOCKS - 1), 1) else None


CNN = Family(
    name="cnn",
    spec=ModelSpec(
        family="cnn",
        crop=CropSpec(size_px=128, margin=1.2, fit="square", mean=(0.0, 0.0, 0.0), scale=(1 / 255,) * 3),
        clip=ClipSpec(frames=1),
        classes=("fake",),
        activation="sigmoid",
    ),
    build=build_cnn,
    sizes=_sizes,
)
