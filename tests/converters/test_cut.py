"""Every kind of head, against Keras itself on real crops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.converters import parity
from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.exporting.canonical import operators
from deepfake_edge.converters.exporting.export import export, moved_transposes
from deepfake_edge.converters.keras_models.reference import run_keras
from deepfake_edge.errors import ConversionError
from deepfake_edge.model import normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

PLAIN = {
    "Add",
    "Concat",
    "MatMul",
    "Mul",
    "Sigmoid",
    "Softmax",
    "Split",
    "Squeeze",
    "Tanh",
    "Sub",
    "Unsqueeze",
    "Slice",
}

# name -> (layers, features a frame)
HEADS = {
    "lstm": (lambda k: [k.LSTM(6), k.Dropout(0.5)], 24),
    "lstm without bias": (lambda k: [k.LSTM(6, use_bias=False)], 24),
    "lstm with recurrent dropout": (lambda k: [k.LSTM(6, recurrent_dropout=0.3, dropout=0.2)], 24),
    "lstm relu": (lambda k: [k.LSTM(6, activation="relu", recurrent_activation="hard_sigmoid")], 24),
    "lstm backwards": (lambda k: [k.LSTM(6, go_backwards=True)], 24),
    "lstm unrolled": (lambda k: [k.LSTM(6, unroll=True)], 24),
    "gru": (lambda k: [k.GRU(6)], 18),
    "gru reset before": (lambda k: [k.GRU(6, reset_after=False)], 18),
    "gru without bias": (lambda k: [k.GRU(6, use_bias=False)], 18),
    "simple rnn": (lambda k: [k.SimpleRNN(6)], 6),
    "bidirectional lstm": (lambda k: [k.Bidirectional(k.LSTM(6))], 48),
    "bidirectional gru": (lambda k: [k.Bidirectional(k.GRU(6))], 36),
    "bidirectional gru reset before": (lambda k: [k.Bidirectional(k.GRU(6, reset_after=False))], 36),
    "bidirectional sum": (lambda k: [k.Bidirectional(k.LSTM(6), merge_mode="sum")], 48),
    "bidirectional ave": (lambda k: [k.Bidirectional(k.GRU(6), merge_mode="ave")], 36),
    "bidirectional mul": (lambda k: [k.Bidirectional(k.LSTM(6), merge_mode="mul")], 48),
    "stacked": (lambda k: [k.LSTM(6, return_sequences=True), k.GRU(5), k.Dense(4, activation="relu")], 24),
    "stacked backwards": (lambda k: [k.LSTM(6, return_sequences=True, go_backwards=True), k.LSTM(5)], 24),
    "stacked bidirectional": (
        lambda k: [k.Bidirectional(k.LSTM(6, return_sequences=True)), k.Bidirectional(k.GRU(4))],
        48,
    ),
    "average pooling": (lambda k: [k.LSTM(6, return_sequences=True), k.GlobalAveragePooling1D()], 24),
    "max pooling": (lambda k: [k.GRU(6, return_sequences=True), k.GlobalMaxPooling1D(), k.BatchNormalization()], 18),
    "flatten": (lambda k: [k.LSTM(6, return_sequences=True), k.Flatten(), k.Dropout(0.3)], 24),
    "no recurrence": (lambda k: [k.GlobalAveragePooling1D(), k.Dense(6, activation="tanh")], 8),
    "convolution over time": (lambda k: [k.Conv1D(6, 3, activation="relu"), k.GlobalMaxPooling1D()], 8),
    "dense a frame": (lambda k: [k.Dense(7, activation="relu"), k.Dropout(0.2), k.LSTM(6)], 24),
    "norms a frame": (lambda k: [k.LayerNormalization(), k.BatchNormalization(), k.Activation("tanh"), k.LSTM(6)], 24),
    "convolution before an lstm": (lambda k: [k.Conv1D(6, 3, activation="relu"), k.LSTM(6)], 8),
    "pooling before a gru": (
        lambda k: [k.MaxPooling1D(2), k.Bidirectional(k.GRU(6, return_sequences=True)), k.Flatten()],
        8,
    ),
    "permutation before an lstm": (lambda k: [k.Permute((2, 1)), k.LSTM(6)], 8),
    "dense in time": (lambda k: [k.TimeDistributed(k.Dense(5)), k.Reshape((5, 5)), k.GRU(6)], 18),
}


def prove(model, crops, spec):
    parts = cut(model, None, None)
    networks = export(parts)
    truth = run_keras(model, parts, crops.crops, crops.windows, spec.crop)
    bundle = Bundle("m", spec, {"fp32": Variant(networks.backbone, networks.head, {})}, truth.golden, {})
    return parts, networks, parity.compare(bundle, truth, crops)


@pytest.mark.parametrize("name", HEADS)
def test_heads_say_what_keras_says(name, keras, clip_model, few_windows, tiny):
    layers, features = HEADS[name]
    model = clip_model(*layers(keras.layers))
    parts, networks, figures = prove(model, few_windows, tiny.spec)
    assert parts.features == features
    assert figures["outputs_max_diff"] < 2e-5
    assert figures["fake_score_max"] - figures["fake_score_min"] > 0.1
    assert figures["windows_by_whole_model"] == figures["windows"] >= 4
    assert not moved_transposes(networks.backbone)
    assert "BatchNormalization" not in operators(networks.backbone)


@pytest.mark.parametrize("name", ["lstm", "stacked bidirectional"])
def test_the_crops_of_a_conversion_reach_from_real_to_fake(name, keras, clip_model, clip_crops, tiny):
    _, _, figures = prove(clip_model(*HEADS[name][0](keras.layers)), clip_crops, tiny.spec)
    assert figures["outputs_max_diff"] < 2e-5
    assert figures["fake_score_min"] <= 0.1
    assert figures["fake_score_max"] >= 0.9
    assert figures["windows_by_whole_model"] == figures["windows"] >= 16
    assert figures["crops"] >= 64


@pytest.mark.parametrize("name", ["lstm", "gru", "bidirectional lstm"])
def test_a_recurrent_head_is_the_recurrence_alone(name, keras, clip_model, tiny):
    head = operators(export(cut(clip_model(*HEADS[name][0](keras.layers)), None, None)).head)
    assert set(head) <= PLAIN
    # One product a step and direction, none in the first (its state is zero), and the last layer's.
    directions = 2 if name.startswith("bi") else 1
    assert head["MatMul"] == (tiny.frames - 1) * directions + 1


def test_a_sequential_model_is_the_same(keras, cnn, few_windows, tiny):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((tiny.frames, tiny.side, tiny.side, 3)),
        layers.TimeDistributed(layers.Rescaling(2.0)),
        layers.TimeDistributed(layers.Conv2D(6, 3, strides=2, activation="relu")),
        layers.TimeDistributed(layers.Flatten()),
        layers.LSTM(6),
        layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    parts, networks, figures = prove(model, few_windows, tiny.spec)
    assert parts.features == 24
    assert figures["outputs_max_diff"] < 2e-5
    assert not moved_transposes(networks.backbone)


def test_a_model_within_a_model_and_two_branches(keras, cnn, few_windows, tiny):
    layers = keras.layers
    inner_input = keras.Input((tiny.frames, 8))
    inner = keras.Model(inner_input, layers.LSTM(6)(inner_input), name="inner")
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    features = layers.TimeDistributed(cnn())(clip)
    both = layers.Concatenate()([inner(features), layers.GlobalAveragePooling1D()(features)])
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(both))
    parts, _, figures = prove(model, few_windows, tiny.spec)
    assert parts.features == 24 + 8
    assert figures["outputs_max_diff"] < 2e-5


OPERATIONS = {
    "a position a frame": lambda ops, values, steps: values + steps,
    "a weight a frame": lambda ops, values, steps: values * steps,
    "an average over time": lambda ops, values, steps: ops.average(values, axis=1),
    "a scalar": lambda ops, values, steps: values * 0.5,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_named_like_layers(name, keras, cnn, few_windows, tiny):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    steps = np.linspace(-1.0, 1.0, tiny.frames, dtype=np.float32)[:, None]
    values = OPERATIONS[name](keras.ops, layers.TimeDistributed(cnn())(clip * 2.0), steps)
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(layers.Flatten()(values)))
    _, _, figures = prove(model, few_windows, tiny.spec)
    assert figures["outputs_max_diff"] < 2e-5


def test_what_only_training_does_is_left_out(keras, cnn, few_windows, tiny):
    layers = keras.layers
    inner = keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.2), layers.GaussianNoise(0.5), cnn()])
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = layers.TimeDistributed(inner)(layers.TimeDistributed(layers.RandomContrast(0.5))(clip))
    values = layers.BatchNormalization()(layers.Dropout(0.5)(values, training=True), training=True)
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(layers.LSTM(3)(values)))
    parts = cut(model, None, None)
    truth = run_keras(model, parts, few_windows.crops, few_windows.windows, tiny.spec.crop)
    prove(model, few_windows, tiny.spec)
    crops = normalise(few_windows.crops[truth.windows[truth.whole[0]]], tiny.spec.crop).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(truth.whole_outputs[:1], model.predict(crops[None], verbose=0), atol=1e-6)
    np.testing.assert_allclose(truth.cut_outputs[truth.whole], truth.whole_outputs, atol=1e-6)


def test_augmentation_of_a_per_frame_model_does_nothing(keras, cnn, frame_crops, tiny):
    layers = keras.layers
    model = keras.Sequential([
        keras.Input((tiny.side, tiny.side, 3)),
        layers.RandomFlip(),
        layers.RandomZoom(0.2),
        cnn(),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    _, _, figures = prove(model, frame_crops, tiny.per_frame)
    assert figures["outputs_max_diff"] < 2e-5


def test_a_per_frame_model_has_no_head(keras, cnn, frame_crops, tiny):
    layers = keras.layers
    model = keras.Sequential([cnn(), layers.Dropout(0.5), layers.Dense(1, activation="sigmoid")])
    parts, networks, figures = prove(model, frame_crops, tiny.per_frame)
    assert (parts.frames, parts.head, networks.head) == (1, None, None)
    assert figures["outputs_max_diff"] < 2e-5


def test_the_networks_take_any_batch_in_planes(keras, clip_model, clip_crops, tiny):
    networks = export(cut(clip_model(keras.layers.GRU(6)), None, None))
    backbone = OnnxRuntimeNetwork(networks.backbone, name="backbone")
    head = OnnxRuntimeNetwork(networks.head, name="head")
    assert backbone.inputs[0].name == "crops"
    assert backbone.inputs[0].shape == (None, 3, tiny.side, tiny.side)
    assert head.inputs[0].shape == (None, tiny.frames, 18)
    crops = normalise(clip_crops.crops[:7], tiny.spec.crop)
    together = backbone.run({"crops": crops})["features"]
    apart = np.concatenate([backbone.run({"crops": crop[None]})["features"] for crop in crops])
    np.testing.assert_allclose(together, apart, atol=1e-5)
    windows = together[np.array([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]])]
    one = np.concatenate([head.run({"window": window[None]})["outputs"] for window in windows])
    np.testing.assert_allclose(head.run({"window": windows})["outputs"], one, atol=1e-6)


def test_open_sizes_are_taken_from_the_caller(keras):
    layers = keras.layers
    clip = keras.Input((None, None, None, 3))
    values = layers.TimeDistributed(layers.Conv2D(4, 3))(clip)
    values = layers.TimeDistributed(layers.GlobalAveragePooling2D())(values)
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(layers.LSTM(3)(values)))
    with pytest.raises(ConversionError, match="size_px"):
        cut(model, 4, None)
    with pytest.raises(ConversionError, match="frames"):
        cut(model, None, 16)
    parts = cut(model, 4, 16)
    assert (parts.frames, parts.size_px, parts.features) == (4, 16, 12)


def test_sizes_are_told_with_the_other_reasons(keras):
    layers = keras.layers
    clip = keras.Input((None, None, 16, 3))
    values = layers.TimeDistributed(layers.Conv2D(4, 3))(clip)
    values = layers.TimeDistributed(layers.GlobalAveragePooling2D())(values)
    model = keras.Model(clip, layers.Dense(2, activation="relu")(layers.LSTM(3)(values)))
    for size, wanted in ((None, "size_px=N"), (24, "wanted square crops, the model takes 24 x 16")):
        with pytest.raises(ConversionError) as caught:
            cut(model, None, size)
        said = "\n".join(caught.value.reasons)
        for part in ("frames=N", wanted, "it ends in"):
            assert part in said
        assert len(caught.value.reasons) == 3
    with pytest.raises(ConversionError) as caught:
        cut(model, 1, 16)
    assert len(caught.value.reasons) == 2
    assert "clips of 2 frames or more" in caught.value.reasons[0]


def test_what_a_recurrent_layer_cannot_be_given_and_give(keras, clip_model):
    layers = keras.layers
    clip = keras.Input((4, 8, 8, 3))
    values = layers.TimeDistributed(layers.Flatten())(clip)
    _, state, memory = layers.LSTM(4, return_state=True)(values)
    values = layers.LSTM(4)(values, initial_state=[state, memory])
    with pytest.raises(ConversionError) as caught:
        cut(keras.Model(clip, layers.Dense(1, activation="sigmoid")(values)), None, None)
    said = "\n".join(caught.value.reasons)
    assert "return_state=False (h is its last output)" in said
    assert "initial state, which is not understood; rebuild it to start from zeros" in said


@pytest.mark.filterwarnings("ignore:Layer 'odd'.*destroy the mask:UserWarning")
def test_every_reason_is_given_at_once(keras, cnn, tiny):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3), batch_size=1)
    values = layers.TimeDistributed(cnn())(clip)
    values = layers.Masking(name="mask")(values)
    values = layers.LSTM(4, stateful=True, return_sequences=True, name="stateful")(values)
    values = layers.Conv1DTranspose(4, 3, name="odd")(values)
    model = keras.Model(clip, layers.Dense(3)(layers.Flatten()(values)))
    with pytest.raises(ConversionError) as caught:
        cut(model, None, None)
    said = "\n".join(caught.value.reasons)
    for part in ("mask (Masking)", "stateful", "odd (Conv1DTranspose)", "output is"):
        assert part in said
    assert len(caught.value.reasons) == 4


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda k, clip: k.layers.ConvLSTM2D(4, 3)(clip), "takes the frames themselves"),
        (lambda k, clip: k.layers.TimeDistributed(k.layers.GlobalAveragePooling2D())(clip), "for each of the 4 frames"),
    ],
)
def test_models_without_a_cut_are_refused(build, words, keras):
    clip = keras.Input((4, 16, 16, 3))
    with pytest.raises(ConversionError, match=words):
        cut(keras.Model(clip, build(keras, clip)), None, None)


def test_half_precision_is_refused(keras):
    layers = keras.layers
    crops = keras.Input((16, 16, 3))
    values = layers.Flatten()(layers.Conv2D(2, 3, dtype="mixed_float16", name="half")(crops))
    with pytest.raises(ConversionError, match=r"half .Conv2D.*float16"):
        cut(keras.Model(crops, layers.Dense(1, activation="sigmoid", dtype="float32")(values)), None, None)


def test_half_precision_inside_a_layer_is_refused(keras, clip_model):
    layers = keras.layers
    model = clip_model(layers.TimeDistributed(layers.Dense(4, dtype="mixed_float16", name="half")), layers.LSTM(3))
    with pytest.raises(ConversionError, match=r"half .Dense. in .*TimeDistributed.: computes in float16"):
        cut(model, None, None)


def test_a_silent_model_gets_a_warning(keras, cnn, frame_crops, tiny):
    model = keras.Sequential([cnn(), keras.layers.Dense(1, activation="sigmoid", kernel_initializer="zeros")])
    _, _, figures = prove(model, frame_crops, replace(tiny.per_frame, classes=("real",)))
    assert "parity proves little" in str(parity.spread_warning(figures))
