"""Small models of the shapes that people train, beside the families: for the matrix of what converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from deepfake_edge.training import workshop

_FRAMES, _SIDE = 4, 32


def nested() -> Any:
    """Functional models as layers of one another; a GRU."""
    keras = workshop.keras()
    layers = keras.layers
    clip = keras.Input((_FRAMES, _SIDE, _SIDE, 3))
    frames = keras.Model(clip, layers.TimeDistributed(_cnn())(clip), name="frames")
    features = keras.Input((_FRAMES, 8))
    head = keras.Model(features, layers.Dense(2, activation="softmax")(layers.GRU(6)(features)), name="head")
    outer = keras.Input((_FRAMES, _SIDE, _SIDE, 3))
    return keras.Model(outer, head(frames(outer)))


def sequential() -> Any:
    """A Sequential with TimeDistributed around single layers, and a Flatten of the features."""
    keras = workshop.keras()
    layers = keras.layers
    each = [
        layers.Conv2D(8, 3, strides=2),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.MaxPooling2D(2),
        layers.Flatten(),
    ]
    last = [layers.LSTM(6), layers.Dense(2, activation="softmax")]
    return keras.Sequential([keras.Input((_FRAMES, _SIDE, _SIDE, 3)), *map(layers.TimeDistributed, each), *last])


def rescaling() -> Any:
    """Raw pixels go in: the model scales them itself."""
    layers = workshop.keras().layers
    return _clip(_cnn(layers.Rescaling(1 / 127.5, -1)), layers.LSTM(6))


def augmentation() -> Any:
    """Layers that change pictures in training and do nothing at inference."""
    layers = workshop.keras().layers
    return _clip(_cnn(layers.RandomFlip("horizontal"), layers.RandomRotation(0.1)), layers.LSTM(6))


def stacked() -> Any:
    """Two recurrent layers, one of them in both directions."""
    layers = workshop.keras().layers
    return _clip(_cnn(), layers.Bidirectional(layers.LSTM(6, return_sequences=True)), layers.GRU(5))


def convolution_over_time() -> Any:
    """A Flatten of the features, then convolution and pooling over time."""
    layers = workshop.keras().layers
    over_time = (layers.Conv1D(6, 3, activation="relu"), layers.GlobalMaxPooling1D())
    return _clip(_cnn(last=layers.Flatten()), *over_time)


def attention() -> Any:
    """Self-attention over time, and the mean of what it gives."""
    keras = workshop.keras()
    layers = keras.layers
    clip = keras.Input((_FRAMES, _SIDE, _SIDE, 3))
    values = layers.TimeDistributed(_cnn())(clip)
    values = layers.LayerNormalization()(layers.Add()([values, layers.MultiHeadAttention(2, 4)(values, values)]))
    return keras.Model(clip, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(values)))


def application(name: str, side: int = _SIDE) -> Any:
    """One of keras.applications on each frame of side x side pixels, an LSTM over them."""
    keras = workshop.keras()
    make = getattr(keras.applications, name)
    cnn = make(include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg")
    return _clip(cnn, keras.layers.LSTM(6), side=side)


def conv3d() -> Any:
    """Three-dimensional convolutions: nothing of it treats a frame alone, so there is no place to cut."""
    keras = workshop.keras()
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((_FRAMES, _SIDE, _SIDE, 3)),
            layers.Conv3D(8, 3, strides=(1, 2, 2), padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling3D((1, 2, 2)),
            layers.Conv3D(8, 3),
            layers.GlobalAveragePooling3D(),
            layers.Dense(2, activation="softmax"),
        ]
    )


def logits_cnn() -> Any:
    """A per-frame CNN whose outputs are no probabilities yet."""
    keras = workshop.keras()
    return keras.Sequential([keras.Input((_SIDE, _SIDE, 3)), _cnn(), keras.layers.Dense(2)])


def subclassed_cnn_lstm(twin: Any) -> Any:
    """The `cnn-lstm` family as people write it by hand: a subclassed model with a layer of its own.

    Args:
        twin: the family's own model, whose weights it takes.
    """
    keras = workshop.keras()
    layers = keras.layers

    class Flat(layers.Layer):  # type: ignore[misc,name-defined]
        """A frame's features in a row."""

        def call(self, values: Any) -> Any:
            _, frames, height, width, channels = values.shape
            return keras.ops.reshape(values, (-1, frames, height * width * channels))

    class CnnLstm(keras.Model):  # type: ignore[misc,name-defined]
        """The same network, with no graph to look at."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution = layers.TimeDistributed(layers.Conv2D(32, 2, activation="relu"))
            self.pooling = layers.TimeDistributed(layers.AveragePooling2D(2))
            self.flat = Flat()
            self.recurrence = layers.LSTM(twin.layers[-2].units, activation="relu")
            self.score = layers.Dense(1, activation="sigmoid")

        def call(self, clips: Any) -> Any:
            return self.score(self.recurrence(self.flat(self.pooling(self.convolution(clips)))))

    model = CnnLstm()
    model(workshop.tensorflow().zeros((1, *twin.input_shape[1:])))
    model.set_weights(twin.get_weights())
    return model


def _cnn(*first: Any, last: Any = None) -> Any:
    keras = workshop.keras()
    layers = keras.layers
    own = [layers.Conv2D(8, 3, strides=2), layers.BatchNormalization(), layers.ReLU()]
    return keras.Sequential([keras.Input((_SIDE, _SIDE, 3)), *first, *own, last or layers.GlobalAveragePooling2D()])


def _clip(cnn: Any, *head: Any, side: int = _SIDE) -> Any:
    keras = workshop.keras()
    clip = keras.Input((_FRAMES, side, side, 3))
    values = keras.layers.TimeDistributed(cnn)(clip)
    for layer in head:
        values = layer(values)
    return keras.Model(clip, keras.layers.Dense(2, activation="softmax")(values))


SHAPES: Mapping[str, Callable[[], Any]] = MappingProxyType({
    "nested models, GRU": nested,
    "Sequential, single layers, Flatten": sequential,
    "Rescaling first": rescaling,
    "augmentation inside": augmentation,
    "Bidirectional LSTM, then GRU": stacked,
    "Conv1D and pooling over time": convolution_over_time,
    "self-attention over time": attention,
    "MobileNetV2, LSTM": partial(application, "MobileNetV2"),
    "EfficientNetB0, LSTM": partial(application, "EfficientNetB0", 64),
    "DenseNet121, LSTM": partial(application, "DenseNet121"),
})  # fmt: skip
