"""ResNet-LSTM: ResNet-50 (He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016) on each
of 10 face crops, an LSTM over them, softmax of (real, fake).

Published: the window of 10 x 224 x 224 x 3 and the two outputs; and, for ResNet-50's ImageNet weights in Keras, its
pixel values (`keras.applications.resnet.preprocess_input`: BGR, ImageNet's mean subtracted, not scaled). Our choice:
the size of the state, the order of the classes, 10 crops a second, and the box as it is.
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, clip_sizes

_WEIGHTS = 323  # 318 of ResNet-50, 3 of the LSTM, 2 of the last layer


def build_resnet_lstm(frames: int = 10, size_px: int = 224, units: int = 256) -> Any:
    """Build the untrained model: (frames, size_px, size_px, 3), BGR less ImageNet's mean -> softmax of (real, fake).

    Args:
        frames: crops in a window.
        size_px: side of a crop, 32 or more.
        units: size of the LSTM's state.
    """
    keras = workshop.keras()
    layers = keras.layers
    shape = (size_px, size_px, 3)
    cnn = keras.applications.ResNet50(include_top=False, weights=None, input_shape=shape, pooling="avg")
    clip = keras.Input((frames, *shape))
    state = layers.LSTM(units)(layers.TimeDistributed(cnn)(clip))
    return keras.Model(clip, layers.Dense(2, activation="softmax")(state), name="resnet_lstm")


def _sizes(model: Any) -> Sizes | None:
    return clip_sizes(model, _WEIGHTS)


RESNET_LSTM = Family(
    name="resnet-lstm",
    spec=ModelSpec(
        family="resnet-lstm",
        crop=CropSpec(
            size_px=224, resize="bilinear", channel_order="bgr", mean=(103.939, 116.779, 123.68), scale=(1.0, 1.0, 1.0)
        ),
        clip=ClipSpec(frames=10, sample_fps=10.0),
        classes=("real", "fake"),
        activation="softmax",
    ),
    build=build_resnet_lstm,
    sizes=_sizes,
)
