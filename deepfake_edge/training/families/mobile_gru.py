"""Mobile-GRU: a light network of inverted residuals on each of 8 small face crops, a GRU over them, softmax of
(real, fake). Ours; the starter model is one.

The blocks are those of Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018: a 1x1 convolution that widens, a depthwise 3x3, a linear 1x1 that narrows. The side is halved
by plain 3x3 convolutions between them, which see all channels of small traces, and cost less on a CPU than depthwise
ones on wide maps. A feature sees some 50 pixels of the crop, so that it learns traces rather than faces; their mean
goes to the GRU. ReLU and batch normalisation only, so that every precision and runtime takes it.
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, clip_sizes

# Of each stage, after a convolution that halves the side: channels, and inverted residuals.
_STAGES = ((32, 1), (64, 2))
_STEM, _FEATURES = 16, 160
_WIDEN = 2
# 5 with a convolution and its normalisation: the stem, 2 that halve, 3 x 3 of the blocks and the last; then 3 of the
# GRU and 2 of the last layer
_WEIGHTS = 70
_MOMENTUM = 0.95


def build_mobile_gru(frames: int = 8, size_px: int = 128, units: int = 64) -> Any:
    """Build the untrained model: (frames, size_px, size_px, 3) in -1..1, RGB -> softmax of (real, fake).

    Args:
        frames: crops in a window.
        size_px: side of a crop, 16 or more.
        units: size of the GRU's state.
    """
    keras = workshop.keras()
    layers = keras.layers
    clip = keras.Input((frames, size_px, size_px, 3))
    features = layers.TimeDistributed(_backbone(size_px))(clip)
    state = layers.Dropout(0.3)(layers.GRU(units)(features))
    return keras.Model(clip, layers.Dense(2, activation="softmax")(state), name="mobile_gru")


def _backbone(size_px: int) -> Any:
    keras = workshop.keras()
    crop = keras.Input((size_px, size_px, 3))
    values = _convolution(crop, _STEM, 3, stride=2)
    for channels, blocks in _STAGES:
        values = _convolution(values, channels, 3, stride=2)
        for _ in range(blocks):
            values = _inverted_residual(values)
    values = _convolution(values, _FEATURES, 1)
    return keras.Model(crop, keras.layers.GlobalAveragePooling2D()(values), name="mobile")


def _inverted_residual(values: Any) -> Any:
    layers = workshop.keras().layers
    channels = values.shape[-1]
    wide = _convolution(values, _WIDEN * channels, 1)
    wide = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(wide)
    wide = layers.ReLU()(layers.BatchNormalization(momentum=_MOMENTUM)(wide))
    return layers.Add()([values, _convolution(wide, channels, 1, relu=False)])


def _convolution(values: Any, filters: int, side: int, *, stride: int = 1, relu: bool = True) -> Any:
    layers = workshop.keras().layers
    values = layers.Conv2D(filters, side, strides=stride, padding="same", use_bias=False)(values)
    values = layers.BatchNormalization(momentum=_MOMENTUM)(values)
    return layers.ReLU()(values) if relu else values


def _sizes(model: Any) -> Sizes | None:
    return clip_sizes(model, _WEIGHTS)


MOBILE_GRU = Family(
    name="mobile-gru",
    spec=ModelSpec(
        family="mobile-gru",
        crop=CropSpec(size_px=128, margin=1.3, resize="bilinear"),
        clip=ClipSpec(frames=8, sample_fps=12.0),
        classes=("real", "fake"),
        activation="softmax",
    ),
    build=build_mobile_gru,
    sizes=_sizes,
)
