"""Seeded weights of models of every shape: whatever gives the score reaches from below 0.1 to above 0.9."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import normalise
from deepfake_edge.training.face_crops import CropSet
from deepfake_edge.training.untrained import seed_weights

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def nested(keras, frames, cnn):
    layers = keras.layers
    head = keras.Sequential([keras.Input((frames, cnn.output_shape[-1])), layers.GRU(5), layers.Dense(2, "softmax")])
    return lambda clip: head(layers.TimeDistributed(cnn)(clip))


def two_recurrent_heads(keras, frames, cnn):
    layers = keras.layers

    def model(clip):
        features = layers.TimeDistributed(cnn)(clip)
        heads = [layers.Dense(2, "softmax")(layer(4)(features)) for layer in (layers.LSTM, layers.GRU)]
        return layers.Average()(heads)

    return model


def clip_and_frames(keras, frames, cnn):
    layers = keras.layers

    def model(clip):
        states = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(layers.TimeDistributed(cnn)(clip))
        return [layers.Dense(1, "sigmoid")(states[:, -1]), layers.TimeDistributed(layers.Dense(1, "sigmoid"))(states)]

    return model


def mean_of_frames(keras, frames, cnn):
    layers = keras.layers
    frame = keras.Sequential([cnn, layers.Dense(2, "softmax")])
    return lambda clip: layers.GlobalAveragePooling1D()(layers.TimeDistributed(frame)(clip))


def not_time_distributed_first(keras, frames, cnn):
    layers = keras.layers

    def model(clip):
        frames = layers.TimeDistributed(cnn)(layers.Rescaling(2.0, -0.5)(clip))
        return layers.Dense(2, "softmax")(layers.Flatten()(layers.BatchNormalization()(layers.Conv1D(4, 3)(frames))))

    return model


def whole_clip(keras, frames, cnn):
    layers = keras.layers

    def model(clip):
        values = layers.ReLU()(layers.BatchNormalization()(layers.Conv3D(4, 3, strides=2)(clip)))
        return layers.Activation("softmax")(layers.Dense(2)(layers.GlobalAveragePooling3D()(values)))

    return model


@pytest.mark.parametrize(
    "shape", [nested, two_recurrent_heads, clip_and_frames, mean_of_frames, not_time_distributed_first, whole_clip]
)
def test_scores_spread_whatever_the_shape(keras, tiny, cnn, clip_crops, shape):
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    model = keras.Model(clip, shape(keras, tiny.frames, cnn())(clip))
    seed_weights(model, tiny.spec, crops=clip_crops)
    values = normalise(clip_crops.crops, tiny.spec.crop).transpose(0, 2, 3, 1)[clip_crops.windows]
    outputs = model.predict(values, verbose=0)
    scores = (outputs[0] if isinstance(outputs, list) else outputs)[:, -1]
    assert scores.min() <= 0.1
    assert scores.max() >= 0.9
    if isinstance(outputs, list):
        assert np.ptp(outputs[1]) >= 0.8


def test_statistics_are_those_of_the_crops(keras, tiny, frame_crops):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((tiny.side, tiny.side, 3)),
            layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[1.0, 2.0, 3.0]),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    seed_weights(model, tiny.per_frame, crops=frame_crops)
    values = normalise(frame_crops.crops, tiny.per_frame.crop).transpose(0, 2, 3, 1)
    seen = keras.Model(model.inputs, model.layers[1].output).predict(values, verbose=0)
    assert np.abs(seen.mean((0, 1, 2)) - model.layers[2].moving_mean.numpy()).max() < 0.2 * seen.std()
    assert model.layers[2].momentum == 0.99
    assert model.layers[0].mean.numpy().ravel().tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_crops_that_are_all_the_same_are_refused(keras, tiny, frame_crops):
    layers = keras.layers
    same = CropSet(np.repeat(frame_crops.crops[:1], 64, axis=0), frame_crops.windows, "one crop")
    model = keras.Sequential([
        keras.Input((tiny.side, tiny.side, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(1, "sigmoid")
    ])  # fmt: skip
    with pytest.raises(InvalidInput, match="too alike"):
        seed_weights(model, tiny.per_frame, crops=same)
