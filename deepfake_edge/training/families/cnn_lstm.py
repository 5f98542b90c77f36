"""CNN-LSTM: one convolution and a pooling on each of 60 small face crops, an LSTM of 16 over all that they give.

Published: the layers, and the window of 60 x 100 x 100 x 3. Our choice: the single output means *fake*, pixel values
in 0..1, 30 crops a second, and the box as it is.
"""

from __future__ import annotations

from typing import Any

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, clip_sizes

_FILTERS = 32
_WEIGHTS = 7  # 2 of the convolution, 3 of the LSTM, 2 of the last layer


def build_cnn_lstm(frames: int = 60, size_px: int = 100, units: int = 16) -> Any:
    """Build the untrained model: (frames, size_px, size_px, 3) in 0..1, RGB -> one sigmoid of *fake*.

    Args:
        frames: crops in a window.
        size_px: side of a crop, 3 or more.
        units: size of the LSTM's state.
    """
    keras = workshop.keras()
    layers = keras.layers
    clip = keras.Input((frames, size_px, size_px, 3))
    values = layers.TimeDistributed(layers.Conv2D(_FILTERS, 2, activation="relu"))(clip)
    values = layers.TimeDistributed(layers.AveragePooling2D(2))(values)
    state = layers.LSTM(units, activation="relu")(layers.Reshape((frames, -1))(values))
    return keras.Model(clip, layers.Dense(1, activation="sigmoid")(state), name="cnn_lstm")


def _sizes(model: Any) -> Sizes | None:
    window = clip_sizes(model, _WEIGHTS)
    if window is None:
        return None
    features = _FILTERS * ((window["size_px"] - 1) // 2) ** 2
    return window if tuple(model.weights[2].shape) == (features, 4 * window["units"]) else None


CNN_LSTM = Family(
    name="cnn-lstm",
    spec=ModelSpec(
        family="cnn-lstm",
        crop=CropSpec(size_px=100, mean=(0.0, 0.0, 0.0), scale=(1 / 255,) * 3),
        clip=ClipSpec(frames=60, sample_fps=30.0),
        classes=("fake",),
        activation="sigmoid",
    ),
    build=build_cnn_lstm,
    sizes=_sizes,
)
