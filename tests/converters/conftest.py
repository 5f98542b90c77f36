"""Tiny models for the converter's tests. Everything here needs the `convert` extra."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deepfake_edge.errors import MissingDependency
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.untrained import seed_weights

FRAMES, SIDE = 5, 32
SPEC = ModelSpec(
    family="custom",
    crop=CropSpec(size_px=SIDE, resize="linear"),
    clip=ClipSpec(frames=FRAMES, sample_fps=10.0),
    classes=("real", "fake"),
    activation="softmax",
)
PER_FRAME = replace(SPEC, clip=ClipSpec(), classes=("fake",), activation="sigmoid")
OVERRIDES = {
    "margin": "1",
    "fit": "stretch",
    "resize": "linear",
    "channel_order": "rgb",
    "mean": "127.5",
    "scale": "1/127.5",
    "sample_fps": "10",
    "classes": "real,fake",
}


@pytest.fixture(scope="session")
def tiny() -> SimpleNamespace:
    return SimpleNamespace(frames=FRAMES, side=SIDE, spec=SPEC, per_frame=PER_FRAME, overrides=OVERRIDES)


@pytest.fixture(scope="session")
def keras() -> Any:
    try:
        return workshop.keras()
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def clip_crops() -> Any:
    return make_crops(SPEC.crop, SPEC.clip, None)


@pytest.fixture(scope="session")
def few_windows(clip_crops) -> Any:
    """All crops, and windows enough to see a difference: Keras takes most of a test's time for each."""
    return replace(clip_crops, windows=clip_crops.windows[::5])


@pytest.fixture(scope="session")
def frame_crops() -> Any:
    return make_crops(PER_FRAME.crop, PER_FRAME.clip, None)


@pytest.fixture(scope="session")
def cnn(keras) -> Callable[[], Any]:
    """Builds a small CNN with what real ones have: strides, separable convolutions, batch norm, a residual."""

    def build() -> Any:
        layers = keras.layers
        crops = keras.Input((SIDE, SIDE, 3))
        values = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(crops)
        values = layers.ReLU()(layers.BatchNormalization()(values))
        branch = layers.SeparableConv2D(8, 3, padding="same", use_bias=False)(values)
        values = layers.Add()([values, layers.BatchNormalization()(branch)])
        values = layers.MaxPooling2D(2)(values)
        return keras.Model(crops, layers.GlobalAveragePooling2D()(values))

    return build


@pytest.fixture(scope="session")
def clip_model(keras, cnn, clip_crops) -> Callable[..., Any]:
    """Builds TimeDistributed(cnn) -> the given layers -> softmax, with seeded weights."""

    def build(*head: Any, outputs: int = 2) -> Any:
        layers = keras.layers
        clip = keras.Input((FRAMES, SIDE, SIDE, 3))
        values = layers.TimeDistributed(cnn())(clip)
        for layer in head:
            values = layer(values)
        last = layers.Dense(outputs, activation="softmax" if outputs == 2 else "sigmoid")
        model = keras.Model(clip, last(values))
        spec = SPEC if outputs == 2 else replace(SPEC, classes=("fake",), activation="sigmoid")
        seed_weights(model, spec, crops=clip_crops)
        return model

    return build


@pytest.fixture(scope="session")
def saved(keras, clip_model, tmp_path_factory) -> Path:
    """A clip model of no known family, as a file."""
    path = tmp_path_factory.mktemp("models") / "clip.keras"
    clip_model(keras.layers.LSTM(6)).save(path)
    return path
