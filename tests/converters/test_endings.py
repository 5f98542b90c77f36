"""What a model must end in, and give: one output of probabilities."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.keras_models.read import recognise
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
    "flattened": lambda k, values: k.layers.Flatten()(k.layers.Dense(1, activation="sigmoid")(values)),
}


def sigmoid(k, values):
    return k.layers.Dense(1, activation="sigmoid")(values)


def softmax(k, values):
    return k.layers.Dense(2, activation="softmax")(values)


def of_four(k, values, last):
    """(B, 4, C): the same layer on four moments."""
    return k.layers.TimeDistributed(last)(k.layers.Reshape((4, 1))(values))


# Computed from probabilities, and probabilities again, though nothing but the numbers shows it.
COMBINED = {
    "one less a sigmoid": lambda k, values: 1.0 - sigmoid(k, values),
    "a weighted mean": lambda k, values: 0.7 * sigmoid(k, values) + 0.3 * sigmoid(k, values),
    "a weighted mean of softmaxes": lambda k, values: 0.7 * softmax(k, values) + 0.3 * softmax(k, values),
    "a maximum": lambda k, values: k.layers.GlobalMaxPooling1D()(
        of_four(k, values, k.layers.Dense(1, activation="sigmoid"))
    ),
    "a maximum by operation": lambda k, values: k.ops.max(
        of_four(k, values, k.layers.Dense(1, activation="sigmoid")), axis=1
    ),
    "of a nested model": lambda k, values: 1.0 - of_four(
        k, values, k.Sequential([k.Input((1,)), k.layers.Dense(1, activation="sigmoid"), k.layers.Reshape((1,))])
    )[:, -1],
    "the last moment": lambda k, values: of_four(k, values, k.layers.Dense(2, activation="softmax"))[:, -1],
    "rescaled": lambda k, values: k.layers.Rescaling(-1.0, 1.0)(sigmoid(k, values)),
    "weighted by attention": lambda k, values: k.ops.sum(
        of_four(k, values, k.layers.Dense(1, activation="sigmoid"))
        * k.layers.Softmax(axis=1)(of_four(k, values, k.layers.Dense(1))),
        axis=1,
    ),
}  # fmt: skip
# In which probabilities have a part, but are logits.
LOGITS = {
    "weighted by attention": lambda k, values: k.ops.sum(
        of_four(k, values, k.layers.Dense(1))
        * k.layers.Softmax(axis=1)(of_four(k, values, k.layers.Dense(1, activation="tanh"))),
        axis=1,
    ),
    "a maximum": lambda k, values: k.layers.GlobalMaxPooling1D()(of_four(k, values, k.layers.Dense(1))),
    "a sum": lambda k, values: k.layers.Dense(1)(values) + k.layers.Dense(1)(values),
    "a log of odds": lambda k, values: k.ops.log(p := sigmoid(k, values)) - k.ops.log(1.0 - p),
    "of gates": lambda k, values: k.layers.Dense(1)(k.layers.Dense(4, activation="sigmoid")(values)),
}  # fmt: skip


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
    try:
        model = keras.Model(values, values)
    except ValueError as error:
        pytest.skip(f"this Keras builds no such model: {error}")
    with pytest.raises(ConversionError, match="its output is"):
        cut(model, None, None)


def test_an_output_in_a_dict_is_taken(keras):
    values = keras.Input((8, 8, 3))
    fake = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(values))
    assert cut(keras.Model(values, {"fake": fake}), None, None).outputs == 1


@pytest.mark.parametrize(("classes", "activation"), [(1, "sigmoid"), (2, "softmax")])
def test_logits_are_taken_when_the_user_says_so(classes, activation, keras):
    model = ending_in(keras, lambda k, values: k.layers.Dense(classes)(values))
    with pytest.raises(ConversionError, match="--spec activation=logits"):
        cut(model, None, None)
    parts = cut(model, None, None, activation="logits")
    assert (parts.outputs, parts.activation) == (classes, activation)
    crops = np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype(np.float32)
    logits = np.asarray(model(crops)).astype(np.float64)
    powers = np.exp(logits)
    wanted = powers / powers.sum(axis=1, keepdims=True) if classes == 2 else powers / (1.0 + powers)
    np.testing.assert_allclose(np.asarray(parts.backbone(crops)), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["tanh", "relu", "hard sigmoid", "a softmax over the batch", "a state"])
def test_what_cannot_be_logits_is_refused(name, keras):
    with pytest.raises(ConversionError, match="gives no logits"):
        cut(ending_in(keras, NO_PROBABILITIES[name]), None, None, activation="logits")


@pytest.mark.parametrize("name", PROBABILITIES)
def test_probabilities_are_no_logits(name, keras):
    with pytest.raises(ConversionError, match="gives probabilities already; leave --spec activation=logits away"):
        cut(ending_in(keras, PROBABILITIES[name]), None, None, activation="logits")


@pytest.mark.parametrize("name", COMBINED)
def test_no_second_sigmoid_is_put_on_probabilities(name, keras):
    model = ending_in(keras, COMBINED[name])
    natural = "sigmoid" if model.output_shape[1] == 1 else "softmax"
    with pytest.raises(ConversionError) as caught:
        cut(model, None, None)
    assert f"--spec activation={natural}" in str(caught.value)
    assert "logits" not in str(caught.value)
    with pytest.raises(ConversionError, match="logits was given, but its outputs are computed from probabilities"):
        cut(model, None, None, activation="logits")
    parts = cut(model, None, None, activation=natural)
    crops = np.random.default_rng(0).standard_normal((3, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(parts.backbone(crops)), np.asarray(model(crops)), atol=1e-6)


@pytest.mark.parametrize("name", LOGITS)
def test_logits_in_which_probabilities_have_a_part(name, keras):
    model = ending_in(keras, LOGITS[name])
    with pytest.raises(ConversionError, match="--spec activation=logits"):
        cut(model, None, None)
    assert cut(model, None, None, activation="logits").ending.logits


@pytest.mark.parametrize("name", sorted(set(NO_PROBABILITIES) - {"logit", "two logits", "a pair that adds to one"}))
def test_no_hint_that_leads_nowhere(name, keras):
    model = ending_in(keras, NO_PROBABILITIES[name])
    for said in (None, "softmax" if model.output_shape[1] == 2 else "sigmoid"):
        with pytest.raises(ConversionError, match=r"end the model in the s[a-z]* itself") as caught:
            cut(model, None, None, activation=said)
        assert "--spec" not in str(caught.value)


@pytest.mark.parametrize("name", ["logit", "two logits", "a pair that adds to one"])
def test_the_user_cannot_vouch_for_logits(name, keras):
    model = ending_in(keras, NO_PROBABILITIES[name])
    with pytest.raises(ConversionError, match="--spec activation=logits"):
        cut(model, None, None, activation="softmax" if model.output_shape[1] == 2 else "sigmoid")


def test_many_merges_of_a_value_with_itself_take_no_time(keras):
    def doubled(k, values):
        values = sigmoid(k, values)
        for _ in range(60):
            values = k.layers.Average()([values, values])
        return values

    assert cut(ending_in(keras, doubled), None, None).outputs == 1


@pytest.mark.parametrize("said", [None, "logits", "sigmoid"])
def test_a_second_value_is_no_output(said, keras):
    clip = keras.Input((3, 2, 2, 3))
    state = keras.layers.LSTM(1, return_state=True)(keras.layers.Reshape((3, 12))(clip))[2]
    with pytest.raises(ConversionError, match="return_state=False"):
        cut(keras.Model(clip, state), None, None, activation=said)


def test_several_inputs_with_a_familys_number_of_weights(keras):
    inputs = [keras.Input((2,)) for _ in range(4)]
    values = keras.layers.Concatenate()(inputs)
    for _ in range(14):
        values = keras.layers.Dense(2)(values)
    model = keras.Model(inputs, values)
    assert len(model.weights) == 28
    with pytest.raises(ConversionError, match="wanted one input, the model has 4"):
        recognise(model)
