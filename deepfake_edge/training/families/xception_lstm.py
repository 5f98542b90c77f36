"""Xception-LSTM: Xception (Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017)
on each of 30 face crops, an LSTM over them, softmax of (real, fake).
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, clip_sizes

_WEIGHTS = 239  # 234 of Xception, 3 of the LSTM, 2 of the last layer


def build_xception_lstm(frames: int = 30, size_px: int = 299, units: int = 256) -> Any:
    """Build the untrained model: (frames, size_px, size_px, 3) in -1..1, RGB -> softmax of (real, fake).

    Args:
        frames: crops in a window.
        size_px: side of a crop, 71 or more.
        units: size of the LSTM's state.
    """
    keras = workshop.keras()
    layers = keras.layers
    shape = (size_px, size_px, 3)
    cnn = keras.applications.Xception(include_top=False, weights=None, input_shape=shape, pooling="avg")
    clip = keras.Input((frames, *shape))
    features = layers.TimeDistributed(cnn)(clip)
    state = layers.Dropout(0.5)(layers.LSTM(units)(features))
    return keras.Model(clip, layers.Dense(2, activation="softmax")(state), name="xception_lstm")


def _sizes(model: Any) -> Sizes | None:
    return clip_sizes(model, _WEIGHTS)


XCEPTION_LSTM = Family(
    name="xception-lstm",
    spec=ModelSpec(
        family="xception-lstm",
        crop=CropSpec(size_px=299, margin=1.0, fit="stretch", resize="bicubic"),
        clip=ClipSpec(frames=30, sample_fps=30.0, stride=1),
        classes=("real", "fake"),
        activation="softmax",
    ),
    build=build_xception_lstm,
    sizes=_sizes,
)
