"""A script: models made and saved by the Keras that is named, with what they give for one input.

    python older_models.py MODULE FOLDER

MODULE is `tf_keras` (Keras 2) or `keras`. Not imported by the tests: two Kerases do not live well in one process.
"""

import importlib
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["KERAS_BACKEND"] = "tensorflow"

import numpy as np

keras = importlib.import_module(sys.argv[1])
folder = sys.argv[2]
layers = keras.layers


def cnn(frozen=False):
    crops = keras.Input((16, 16, 3))
    values = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(crops)
    values = layers.ReLU()(layers.BatchNormalization()(values))
    branch = layers.SeparableConv2D(4, 3, padding="same", use_bias=False)(values)
    values = layers.Add()([values, layers.BatchNormalization()(branch)])
    model = keras.Model(crops, layers.GlobalAveragePooling2D()(values), name="cnn")
    if frozen:
        for layer in model.layers[:4]:
            layer.trainable = False
    return model


def clip(head, frozen=False):
    crops = keras.Input((3, 16, 16, 3))
    values = layers.Dropout(0.5)(head(layers.TimeDistributed(cnn(frozen))(crops)))
    return keras.Model(crops, layers.Dense(2, activation="softmax")(values))


def sequential():
    return keras.Sequential(
        [
            layers.TimeDistributed(layers.Conv2D(4, 3, activation="relu"), input_shape=(3, 16, 16, 3)),
            layers.TimeDistributed(layers.BatchNormalization()),
            layers.TimeDistributed(layers.GlobalAveragePooling2D()),
            layers.Bidirectional(layers.GRU(4)),
            layers.Dense(2, activation="softmax"),
        ]
    )


def nested():
    crops = keras.Input((16, 16, 3))
    values = cnn()(layers.Rescaling(1 / 127.5, offset=-1)(crops))
    inner = keras.Sequential([layers.Dense(5, activation="relu"), layers.Dense(4)], name="inner")
    values = inner(values)
    both = layers.Concatenate()([values, layers.Dense(4)(values)])
    return keras.Model(crops, layers.Dense(1, activation="sigmoid")(both))


def plain():
    crops = keras.Input((16, 16, 3))
    values = layers.RandomFlip("horizontal")(crops)
    values = layers.LeakyReLU()(layers.DepthwiseConv2D(3)(values))
    values = layers.Conv2D(4, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-4))(values)
    values = layers.LayerNormalization()(values)
    return keras.Model(crops, layers.Dense(1, activation="sigmoid")(layers.Flatten()(values)))


def attention():
    crops = keras.Input((3, 16, 16, 3))
    values = layers.LSTM(4, return_sequences=True)(layers.TimeDistributed(cnn())(crops))
    values = layers.MultiHeadAttention(2, 3)(values, values)
    return keras.Model(crops, layers.Dense(2, activation="softmax")(layers.GlobalAveragePooling1D()(values)))


MODELS = {
    "lstm": lambda: clip(layers.LSTM(4)),
    "frozen": lambda: clip(layers.LSTM(4), frozen=True),
    "sequential": sequential,
    "nested": nested,
    "plain": plain,
    "attention": attention,
}

dice = np.random.default_rng(20180911)
for name, build in MODELS.items():
    model = build()
    for weight in model.weights:
        values = dice.normal(0, 0.3, weight.shape).astype("float32")
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    if name == "lstm":  # so that its files hold an optimizer's and metrics' state as well
        model.compile("adam", "binary_crossentropy")
        model.train_on_batch(np.zeros((1, *model.input_shape[1:])), np.ones((1, 2)))
    given = dice.uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    np.savez(f"{folder}/{name}.npz", given=given, wanted=np.asarray(model(given, training=False)))
    model.save(f"{folder}/{name}.keras")
    model.save(f"{folder}/{name}.h5")
    model.save_weights(f"{folder}/{name}.weights.h5")
    if sys.argv[1] == "tf_keras":
        model.save_weights(f"{folder}/{name}.only.h5")
