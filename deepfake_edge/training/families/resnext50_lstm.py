"""ResNeXt50-LSTM: ResNeXt-50 32x4d (Xie, Girshick, Dollar, Tu and He, "Aggregated Residual Transformations for Deep
Neural Networks", CVPR 2017) on each of 20 face crops, an LSTM over them, softmax of (real, fake).

Published: the CNN, here in the layout of its public weights (a stage's side is halved in its first grouped
convolution, padding is the same on every side, epsilon 1e-5), and the pixel values of those weights (RGB, ImageNet's
mean and deviation). Detectors made of it in PyTorch mostly take 112 px crops, 20 or so of a clip: that is our window,
at 30 crops a second. Our choice too: the size of the state, the order of the classes (theirs differ), the box as it is.
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, clip_sizes

# Of each stage: blocks, channels of the grouped convolution, channels that come out.
_STAGES = ((3, 128, 256), (4, 256, 512), (6, 512, 1024), (3, 1024, 2048))
_GROUPS = 32
_EPSILON = 1e-5
_WEIGHTS = 270  # 53 convolutions with 4 of normalisation each, 3 of the LSTM, 2 of the last layer


def build_resnext50(size_px: int = 224) -> Any:
    """Build ResNeXt-50 32x4d without its last layer, untrained: (size_px, size_px, 3) -> (2048,). 32 px or more."""
    keras = workshop.keras()
    crops = keras.Input((size_px, size_px, 3))
    values = _convolution(crops, 64, 7, stride=2)
    values = keras.layers.MaxPooling2D(3, 2)(keras.layers.ZeroPadding2D(1)(values))
    for stage, (blocks, inner, outer) in enumerate(_STAGES):
        for block in range(blocks):
            values = _block(values, inner, outer, stride=2 if stage and not block else 1)
    return keras.Model(crops, keras.layers.GlobalAveragePooling2D()(values), name="resnext50_32x4d")


def build_resnext50_lstm(frames: int = 20, size_px: int = 112, units: int = 256) -> Any:
    """Build the untrained model: (frames, size_px, size_px, 3), RGB, ImageNet's values -> softmax of (real, fake).

    Args:
        frames: crops in a window.
        size_px: side of a crop, 32 or more.
        units: size of the LSTM's state.
    """
    keras = workshop.keras()
    layers = keras.layers
    clip = keras.Input((frames, size_px, size_px, 3))
    state = layers.LSTM(units)(layers.TimeDistributed(build_resnext50(size_px))(clip))
    return keras.Model(clip, layers.Dense(2, activation="softmax")(state), name="resnext50_lstm")


def _block(values: Any, inner: int, outer: int, stride: int) -> Any:
    layers = workshop.keras().layers
    shortcut = values
    if values.shape[-1] != outer:
        shortcut = _convolution(values, outer, 1, stride=stride, relu=False)
    values = _convolution(values, inner, 1)
    values = _convolution(values, inner, 3, stride=stride, groups=_GROUPS)
    values = _convolution(values, outer, 1, relu=False)
    return layers.ReLU()(layers.Add()([values, shortcut]))


def _convolution(values: Any, filters: int, side: int, *, stride: int = 1, groups: int = 1, relu: bool = True) -> Any:
    layers = workshop.keras().layers
    if side > 1:
        values = layers.ZeroPadding2D(side // 2)(values)
    values = layers.Conv2D(filters, side, strides=stride, groups=groups, use_bias=False)(values)
    values = layers.BatchNormalization(epsilon=_EPSILON)(values)
    return layers.ReLU()(values) if relu else values


def _sizes(model: Any) -> Sizes | None:
    return clip_sizes(model, _WEIGHTS)


RESNEXT50_LSTM = Family(
    name="resnext50-lstm",
    spec=ModelSpec(
        family="resnext50-lstm",
        crop=CropSpec(
            size_px=112,
            resize="bilinear",
            mean=(123.675, 116.28, 103.53),
            scale=(1 / 58.395, 1 / 57.12, 1 / 57.375),
        ),
        clip=ClipSpec(frames=20, sample_fps=30.0),
        classes=("real", "fake"),
        activation="softmax",
    ),
    build=build_resnext50_lstm,
    sizes=_sizes,
)
