"""What a model must end in, and give: one output of probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.converters.cut import cut
from deepfake_edge.converters.read import recognise
from deepfake_edge.errors import ConversionError

# Each from the values of a layer of four.
NO_PROBABILITIES = {
    "logit": lambda k, values: k.layers.Dense(1)(values),
    "tanh": lambda k, values: k.layers.Dense(1, activation="tanh")(values),
    "relu": lambda k, values: k.layers.Dense(1, activation="relu")(values),
    "hard sigmoid": lambda k, values: k.layers.Dense(1, activation="hard_sigmoid")(values),
    "a softmax of one": lambda k, values: k.layers.Dense(1, activation="softmax")(values),
    "two sigmoids": lambda k, values: k.layers.Dense(2, activation="sigmoid")(values),
    "two logits": lambda k, values: k.layers.Dense(2)(values),
    "a softmax over the batch": lambda k, values: k.layers.Softmax(axis=0)(k.layers.Dense(2)(values)),
    "a pair that adds to one": lambda k, values: k.layers.Concatenate()(
        [part := k.layers.Dense(1)(values), k.layers.Rescaling(-1.0, 1.0)(part)]
    ),
    "a state": lambda k, values: k.layers.LSTM(2, activation="softmax")(k.layers.Reshape((2, 2))(values)),
}
PROBABILITIES = {
    "sigmoid": lambda k, values: k.layers.Dense(1, activation="sigmoid")(values),
    "softmax": lambda k, values: k.layers.Dense(2, activation="softmax")(values),
    "sigmoid layer": lambda k, values: k.layers.Activation("sigmoid")(k.layers.Dense(1)(values)),
    "softmax activation layer": lambda k, values: k.layers.Activation("softmax")(k.layers.Dense(2)(values)),
    "softmax layer": lambda k, values: k.layers.Softmax()(k.layers.Dense(2)(values)),
    "sigmoid operation": lambda k, values: k.ops.sigmoid(k.layers.Dense(1)(values)),
}


def ending_in(keras, last):
    crops = keras.Input((8, 8, 3))
    return keras.Model(crops, last(keras, keras.layers.Dense(4)(keras.layers.Flatten()(crops))))


@pytest.mark.parametrize("name", NO_PROBABILITIES)
def test_what_only_looks_like_probabilities_is_refused(name, keras):
    with pytest.raises(ConversionError, match="wanted a softmax over two classes or one sigmoid"):
        cut(ending_in(keras, NO_PROBABILITIES[name]), None, None)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_sigmoids_and_softmaxes_are_taken(name, keras):
    model = ending_in(keras, PROBABILITIES[name])
    assert cut(model, None, None).outputs == model.output_shape[1]


def test_a_model_of_its_input_alone_is_refused(keras):
    values = keras.Input((8, 8, 3))
    with pytest.raises(ConversionError, match="its output is"):
        cut(keras.Model(values, values), None, None)


def test_an_output_in_a_dict_is_taken(keras):
    values = keras.Input((8, 8, 3))
    fake = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(values))
    assert cut(keras.Model(values, {"fake": fake}), None, None).outputs == 1


@pytest.mark.parametrize(("classes", "activation"), [(1, "sigmoid"), (2, "softmax")])
def test_logits_are_taken_when_the_user_says_so(classes, activation, keras):
    model = ending_in(keras, lambda k, values: k.layers.Dense(classes)(values))
    with pytest.raises(ConversionError, match="--spec activation=logits"):
        cut(model, None, None)
    parts = cut(model, None, None, logits=True)
    assert (parts.outputs, parts.activation) == (classes, activation)
    crops = np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype(np.float32)
    logits = np.asarray(model(crops)).astype(np.float64)
    powers = np.exp(logits)
    wanted = powers / powers.sum(axis=1, keepdims=True) if classes == 2 else powers / (1.0 + powers)
    np.testing.assert_allclose(np.asarray(parts.backbone(crops)), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["tanh", "relu", "hard sigmoid", "a softmax over the batch", "a state"])
def test_what_cannot_be_logits_is_refused(name, keras):
    with pytest.raises(ConversionError, match="gives no logits"):
        cut(ending_in(keras, NO_PROBABILITIES[name]), None, None, logits=True)


@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_are_no_logits(name, keras):
    with pytest.raises(ConversionError, match="gives probabilities already; leave --spec activation=logits away"):
        cut(ending_in(keras, PROBABILITIES[name]), None, None, logits=True)


def test_several_inputs_with_a_familys_number_of_weights(keras):
    inputs = [keras.Input((2,)) for _ in range(4)]
    values = keras.layers.Concatenate()(inputs)
    for _ in range(14):
        values = keras.layers.Dense(2)(values)
    model = keras.Model(inputs, values)
    assert len(model.weights) == 28
    with pytest.raises(ConversionError, match="wanted one input, the model has 4"):
        recognise(model)
