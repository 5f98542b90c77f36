"""Models of every shape that people have, each against Keras on real crops, with nothing that loops in its ONNX."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.converters import parity
from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.exporting.canonical import operators
from deepfake_edge.converters.exporting.export import export
from deepfake_edge.converters.keras_models.reference import run_keras
from deepfake_edge.errors import ConversionError
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.face_crops import CropSet, make_crops
from deepfake_edge.training.untrained import seed_weights

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

LOOPS = {"Loop", "Scan", "If", "LSTM", "GRU", "RNN"}


@pytest.fixture(scope="module")
def few_crops(clip_crops) -> CropSet:
    """Enough to see a difference, few enough for many models."""
    return replace(clip_crops, crops=clip_crops.crops[:24], windows=clip_crops.windows[:4])


def prove(model, crops, spec, **options):
    """Cut, export, compare; gives the cut, the head's operators and the figures."""
    parts = cut(model, None, None, **options)
    networks = export(parts)
    truth = run_keras(model, parts, crops.crops, crops.windows, spec.crop)
    spec = replace(spec, activation=parts.activation, classes=("real", "fake") if parts.outputs == 2 else ("fake",))
    bundle = Bundle("m", spec, {"fp32": Variant(networks.backbone, networks.head, {})}, truth.golden, {})
    figures = parity.compare(bundle, truth, crops)
    found = [operators(graph) for graph in (networks.backbone, networks.head) if graph is not None]
    assert not LOOPS & set().union(*found)
    return parts, found[-1], figures


def scattered(model):
    """Weights of such a size that every part of the model has a say."""
    random = np.random.default_rng(7)
    for weight in model.weights:
        name, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
        if "seed_generator" in weight.path or weight.dtype != "float32":
            continue
        values = random.standard_normal(shape)
        if name in ("moving_variance", "gamma", "variance"):
            values = 0.5 + np.abs(values)
        elif len(shape) > 1:
            values *= 1.4 / np.sqrt(np.prod(shape[:-1]))
        else:
            values *= 0.2
        weight.assign(values.astype(np.float32))
    return model


def flat(k, values):
    """A picture's values as features."""
    return k.layers.TimeDistributed(k.layers.GlobalAveragePooling2D())(values)


def transformer(k, values):
    layers = k.layers
    width = values.shape[-1]
    values = values + np.linspace(-1, 1, values.shape[1] * width, dtype=np.float32).reshape(1, -1, width)
    attended = layers.MultiHeadAttention(2, 4)(values, values)
    values = layers.LayerNormalization()(layers.Add()([values, layers.Dropout(0.1)(attended)]))
    inner = layers.Dense(12, activation="gelu")(values)
    values = layers.LayerNormalization()(layers.Add()([values, layers.Dense(width)(inner)]))
    return layers.GlobalAveragePooling1D()(values)


def nested(k, values):
    """A functional head of two branches, in a functional model, in the model."""
    layers = k.layers
    taken = k.Input(values.shape[1:])
    state = layers.Bidirectional(layers.GRU(4))(taken)
    inner = k.Model(taken, layers.Concatenate()([state, layers.GlobalMaxPooling1D()(taken)]))
    outer = k.Input(values.shape[1:])
    return k.Model(outer, layers.Dense(5, activation="relu")(inner(outer)))(values)


# name -> head, from features (B, T, 8)
HEADS = {
    "lstm and gru": lambda k, v: k.layers.GRU(4)(k.layers.LSTM(5, return_sequences=True)(v)),
    "two bidirectional": lambda k, v: k.layers.Bidirectional(k.layers.LSTM(4))(
        k.layers.Bidirectional(k.layers.GRU(5, return_sequences=True))(v)
    ),
    "lstm forwards, gru backwards": lambda k, v: k.layers.Bidirectional(
        k.layers.LSTM(4), backward_layer=k.layers.GRU(4, go_backwards=True)
    )(v),
    "lstm with relu": lambda k, v: k.layers.LSTM(5, activation="relu")(v),
    "stacked cells": lambda k, v: k.layers.RNN([k.layers.LSTMCell(4), k.layers.GRUCell(3)])(v),
    "attention": lambda k, v: k.layers.GlobalAveragePooling1D()(k.layers.Attention(use_scale=True)([v, v])),
    "additive attention": lambda k, v: k.layers.Flatten()(k.layers.AdditiveAttention()([v, v])),
    "attention over a state": lambda k, v: k.layers.Flatten()(
        k.layers.Attention()([s := k.layers.LSTM(4, return_sequences=True)(v), s])
    ),
    "weights of frames": lambda k, v: k.ops.sum(
        k.layers.Multiply()([v, k.layers.Softmax(axis=1)(k.layers.Dense(1, activation="tanh")(v))]), axis=1
    ),
    "attention whose scores nobody reads": lambda k, v: k.layers.Flatten()(
        k.layers.Attention()([v, v], return_attention_scores=True)[0]
    ),
    "multi-head attention whose scores nobody reads": lambda k, v: k.layers.Flatten()(
        k.layers.MultiHeadAttention(2, 3)(v, v, return_attention_scores=True)[0]
    ),
    "multi-head attention": lambda k, v: k.layers.GlobalMaxPooling1D()(k.layers.MultiHeadAttention(2, 3)(v, v)),
    "transformer": transformer,
    "pooling over time": lambda k, v: k.layers.Flatten()(k.layers.AveragePooling1D(2)(k.layers.MaxPooling1D(2)(v))),
    "average over time": lambda k, v: k.layers.GlobalAveragePooling1D()(v),
    "convolution over time": lambda k, v: k.layers.Flatten()(
        k.layers.Conv1D(4, 3, padding="causal", dilation_rate=2)(k.layers.SeparableConv1D(6, 3, padding="same")(v))
    ),
    "the last frame": lambda k, v: k.layers.LSTM(4, return_sequences=True)(v)[:, -1],
    "reshape and permute": lambda k, v: k.layers.Flatten()(k.layers.Permute((2, 1))(k.layers.Reshape((-1, 4))(v))),
    "mean and maximum by operations": lambda k, v: k.layers.Concatenate()(
        [k.ops.mean(v, axis=1), k.ops.max(v, axis=1)]
    ),
    "gelu and prelu": lambda k, v: k.layers.Flatten()(
        k.layers.PReLU()(k.layers.Activation("gelu")(k.layers.Dense(6)(v)))
    ),
    "a norm of batches and groups": lambda k, v: k.layers.GRU(3)(
        k.layers.BatchNormalization()(k.layers.GroupNormalization(2)(v))
    ),
    "nested": nested,
}  # fmt: skip


@pytest.mark.parametrize("name", HEADS)
def test_heads(name, keras, few_crops, tiny):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = layers.TimeDistributed(layers.Conv2D(8, 5, strides=4, activation="relu"))(clip)
    values = HEADS[name](keras, flat(keras, values))
    model = scattered(keras.Model(clip, layers.Dense(2, activation="softmax")(values)))
    parts, _, figures = prove(model, few_crops, tiny.spec)
    assert parts.backbone is not None
    assert figures["outputs_max_diff"] < 2e-5
    assert figures["fake_score_max"] - figures["fake_score_min"] > 1e-3


def single_layers(k, clip):
    """TimeDistributed around single layers, and layers that need none."""
    layers = k.layers
    values = layers.TimeDistributed(layers.Rescaling(0.5))(clip)
    values = layers.TimeDistributed(layers.Conv2D(6, 3, strides=2, use_bias=False))(values)
    values = layers.ReLU()(layers.BatchNormalization()(values))
    values = layers.PReLU(shared_axes=[1, 2, 3])(values)
    values = layers.TimeDistributed(layers.MaxPooling2D(3))(values)
    return layers.TimeDistributed(layers.Flatten())(values)


def reshaped(k, clip):
    values = k.layers.TimeDistributed(k.layers.Conv2D(4, 5, strides=5))(clip)
    return k.layers.Reshape((clip.shape[1], -1))(values)


def augmented(k, clip):
    layers = k.layers
    inner = k.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1), layers.Rescaling(2.0), layers.Conv2D(8, 5)])
    values = layers.TimeDistributed(layers.RandomContrast(0.3))(layers.GaussianNoise(0.2)(clip))
    return flat(k, layers.TimeDistributed(inner)(values))


def normalised(k, clip):
    layers = k.layers
    norm = layers.Normalization(mean=[0.1, 0.2, 0.3], variance=[0.5, 0.4, 0.3])
    return flat(k, layers.TimeDistributed(layers.Conv2D(8, 5))(norm(clip)))


def rows_of_a_picture(k, clip):
    """A clip of clips: a recurrent layer that reads each picture row by row."""
    layers = k.layers
    values = layers.TimeDistributed(layers.Conv2D(3, 4, strides=4, activation="relu"))(clip)
    values = layers.TimeDistributed(layers.Reshape((8, 24)))(values)
    return layers.TimeDistributed(layers.LSTM(6))(values)


FRAMES = {
    "single layers": single_layers,
    "reshaped features": reshaped,
    "augmentation": augmented,
    "normalization": normalised,
    "a recurrent layer over rows": rows_of_a_picture,
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name, keras, few_crops, tiny):
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    state = keras.layers.LSTM(4)(FRAMES[name](keras, clip))
    model = scattered(keras.Model(clip, keras.layers.Dense(1, activation="sigmoid")(state)))
    parts, _, figures = prove(model, few_crops, tiny.spec)
    assert parts.features == 16
    assert figures["outputs_max_diff"] < 2e-5


def test_convolutional_recurrence_over_feature_maps(keras, few_crops, tiny):
    layers = keras.layers
    model = scattered(keras.Sequential([
        keras.Input((tiny.frames, tiny.side, tiny.side, 3)),
        layers.TimeDistributed(layers.Conv2D(4, 5, strides=4, activation="relu")),
        layers.ConvLSTM2D(3, 3, return_sequences=True),
        layers.BatchNormalization(),
        layers.Bidirectional(layers.ConvLSTM2D(2, 3)),
        layers.GlobalAveragePooling2D(),
        layers.Dense(2, activation="softmax"),
    ]))  # fmt: skip
    parts, _, figures = prove(model, few_crops, tiny.spec)
    assert parts.features == 7 * 7 * 4
    assert figures["outputs_max_diff"] < 2e-5


def frame_model(keras, tiny, outputs, classes=2, activation="softmax"):
    """A model with `outputs` of (outputs of the clip, outputs of each frame from features, of each from states)."""
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = flat(keras, layers.TimeDistributed(layers.Conv2D(8, 5, strides=4, activation="relu"))(clip))
    states = layers.LSTM(4, return_sequences=True)(values)
    last = layers.Dense(classes, activation=activation)(layers.GlobalMaxPooling1D()(states))
    each = layers.TimeDistributed(layers.Dense(classes, activation=activation))
    return scattered(
        keras.Model(clip, outputs(last, each(values), layers.Dense(classes, activation=activation)(states)))
    )


FRAME_OUTPUTS = {
    "after the clip's": lambda last, alone, states: [last, alone],
    "before the clip's": lambda last, alone, states: [alone, last],
    "of states": lambda last, alone, states: [last, states],
    "in a dict": lambda last, alone, states: {"video": last, "each": states},
    "alone": lambda last, alone, states: alone,
    "alone, of states": lambda last, alone, states: states,
}


@pytest.mark.parametrize("name", FRAME_OUTPUTS)
@pytest.mark.parametrize(("classes", "logits"), [(2, False), (1, True)])
def test_a_score_for_each_frame(name, classes, logits, keras, few_crops, tiny):
    activation = None if logits else "softmax"
    model = frame_model(keras, tiny, FRAME_OUTPUTS[name], classes, activation)
    parts, _, figures = prove(model, few_crops, tiny.spec, activation="logits" if logits else None)
    assert parts.frame_outputs
    assert figures["outputs_max_diff"] < 2e-5
    assert figures["frame_outputs_max_diff"] < 2e-5
    crops = np.random.default_rng(0).standard_normal((tiny.frames, tiny.side, tiny.side, 3)).astype(np.float32)
    clip, each = parts.head(np.asarray(parts.backbone(crops))[None])
    if name.startswith("alone"):
        np.testing.assert_allclose(np.asarray(each).mean(axis=1), clip, atol=1e-6)
    assert each.shape == (1, tiny.frames, classes)


def test_a_clip_output_that_is_the_mean_of_the_frames(keras, few_crops, tiny):
    layers = keras.layers
    crop = keras.Input((tiny.side, tiny.side, 3))
    values = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 5, activation="relu")(crop))
    single = keras.Model(crop, layers.Dense(1, activation="sigmoid")(values))
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    each = layers.TimeDistributed(single)(clip)
    model = scattered(keras.Model(clip, [layers.GlobalAveragePooling1D()(each), each]))
    parts, _, figures = prove(model, few_crops, tiny.spec)
    assert (parts.features, parts.frame_outputs) == (1, True)
    assert figures["frame_outputs_max_diff"] < 2e-5


def test_outputs_that_fit_no_form_are_refused(keras, tiny):
    wrong = [
        lambda last, alone, states: [last, last],
        lambda last, alone, states: [alone, states],
        lambda last, alone, states: [last, alone, states],
        lambda last, alone, states: [last, keras.layers.Cropping1D(1)(alone)],
    ]
    for outputs in wrong:
        with pytest.raises(ConversionError, match=r"its outputs are .* beside it or instead of it"):
            cut(frame_model(keras, tiny, outputs), None, None)
    with pytest.raises(ConversionError, match=r"it ends in .*Dense"):
        cut(frame_model(keras, tiny, lambda last, alone, states: [last, states], activation="tanh"), None, None)


def volumes(k, clip):
    layers = k.layers
    values = layers.Conv3D(6, (2, 3, 3), strides=(1, 2, 2), use_bias=False)(layers.Rescaling(0.5)(clip))
    values = layers.ReLU()(layers.BatchNormalization()(values))
    values = layers.AveragePooling3D((1, 2, 2))(layers.MaxPooling3D((2, 2, 2), padding="same")(values))
    return layers.GlobalAveragePooling3D()(values)


def two_streams(k, clip):
    """Frames, and what changes between them."""
    layers = k.layers
    cnn = layers.Conv2D(6, 5, strides=4, activation="relu")
    frames = flat(k, layers.TimeDistributed(cnn)(clip))
    changes = layers.Flatten()(layers.GlobalMaxPooling3D()(clip[:, 1:] - clip[:, :-1]))
    return layers.Concatenate()([layers.LSTM(4)(frames), changes])


FUSED = {
    "3-D convolutions": volumes,
    "convolutional lstm": lambda k, clip: k.layers.GlobalMaxPooling2D()(k.layers.ConvLSTM2D(4, 5, strides=4)(clip)),
    "volumes, then an lstm": lambda k, clip: k.layers.LSTM(4)(
        k.layers.Reshape((2, -1))(k.layers.Conv3D(2, (2, 6, 6), strides=(3, 6, 6), activation="relu")(clip))
    ),
    "frames and their changes": two_streams,
}


@pytest.mark.parametrize("name", FUSED)
def test_clip_networks_that_cannot_be_cut(name, keras, few_crops, tiny):
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    model = scattered(keras.Model(clip, keras.layers.Dense(2, activation="softmax")(FUSED[name](keras, clip))))
    with pytest.raises(ConversionError, match=r"convert it whole: --fused .*about 5 times the work") as caught:
        cut(model, None, None)
    assert any("takes the frames themselves" in reason for reason in caught.value.reasons)
    parts, _, figures = prove(model, few_crops, tiny.spec, fused=True)
    assert (parts.backbone, parts.features) == (None, 3 * tiny.side**2)
    assert "runs the whole clip of 5 frames" in parts.warnings[0]
    assert figures["outputs_max_diff"] < 2e-5
    assert "features_max_diff" not in figures


def test_a_model_that_can_be_cut_is_taken_whole_when_asked(keras, few_crops, tiny):
    model = frame_model(keras, tiny, FRAME_OUTPUTS["of states"])
    parts, _, figures = prove(model, few_crops, tiny.spec, fused=True)
    assert "this model can be cut" in parts.warnings[0]
    assert figures["frame_outputs_max_diff"] < 2e-5


def test_fused_refuses_what_nothing_helps(keras, tiny):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3), batch_size=1)
    values = layers.ConvLSTM2D(2, 3, stateful=True, name="keeps")(clip)
    model = keras.Model(clip, layers.Dense(3)(layers.Flatten()(values)))
    for fused in (False, True):
        with pytest.raises(ConversionError, match="stateful") as caught:
            cut(model, None, None, fused=fused)
        assert any("its output is" in reason for reason in caught.value.reasons)
        assert not any("--fused" in reason for reason in caught.value.reasons)
    crop = keras.Input((8, 8, 3))
    single = keras.Model(crop, layers.Dense(1, activation="sigmoid")(layers.Flatten()(crop)))
    with pytest.raises(ConversionError, match=r"per-frame model.*leave --fused away"):
        cut(single, None, None, fused=True)


def test_scores_of_attention_that_are_read(keras, tiny):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = flat(keras, clip)
    values, scores = layers.Attention()([values, values], return_attention_scores=True)
    both = layers.Concatenate()([layers.Flatten()(values), layers.Flatten()(scores)])
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(both))
    with pytest.raises(ConversionError, match="return_attention_scores=False"):
        cut(model, None, None)


@pytest.mark.parametrize("classes", [1, 2])
def test_probabilities_combined_over_time(classes, keras, few_crops, tiny):
    layers = keras.layers
    activation = "sigmoid" if classes == 1 else "softmax"
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = flat(keras, layers.TimeDistributed(layers.Conv2D(8, 5, strides=4, activation="relu"))(clip))
    each = layers.Dense(classes, activation=activation)(layers.LSTM(4, return_sequences=True)(values))
    model = scattered(keras.Model(clip, layers.GlobalMaxPooling1D()(each)))
    if classes == 1:
        figures = prove(model, few_crops, tiny.spec, activation=activation)[2]
        assert figures["outputs_max_diff"] < 2e-5
        return
    with pytest.raises(ConversionError, match="no probabilities"):
        prove(model, few_crops, tiny.spec, activation=activation)


def test_masking_is_refused(keras, tiny):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = layers.LSTM(4)(layers.Masking(name="mask")(flat(keras, clip)))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(values))
    with pytest.raises(ConversionError, match=r"mask .Masking.: masks frames"):
        cut(model, None, None)


RAW, UNIT, SIGNED = (0.0, 1.0), (0.0, 1 / 255), (127.5, 1 / 127.5)
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

# name -> (first layers, mean and scale of the spec that they ask for)
FIRST = {
    "raw to 0..1": (lambda k, v: k.layers.Rescaling(1 / 255)(v), RAW),
    "raw to -1..1": (lambda k, v: k.layers.Rescaling(1 / 127.5, -1)(v), RAW),
    "raw by operations": (lambda k, v: v / 127.5 - 1.0, RAW),
    "raw, mean off, channels turned": (
        lambda k, v: v[..., ::-1] - np.array([103.939, 116.779, 123.68], np.float32),
        RAW,
    ),
    "raw, two layers": (
        lambda k, v: k.layers.Normalization(mean=MEAN, variance=STD**2)(k.layers.Rescaling(1 / 255)(v)),
        RAW,
    ),
    "raw to the statistics of photographs": (
        lambda k, v: k.layers.Normalization(mean=MEAN * 255, variance=(STD * 255) ** 2)(v),
        RAW,
    ),
    "0..1 to -1..1": (lambda k, v: k.layers.Rescaling(2, -1)(v), UNIT),
    "0..1 to raw": (lambda k, v: k.layers.Rescaling(255.0)(v), UNIT),
    "0..1 to the statistics of photographs": (
        lambda k, v: k.layers.Normalization(mean=MEAN, variance=STD**2)(v),
        UNIT,
    ),
    "-1..1 to 0..1": (lambda k, v: k.layers.Rescaling(0.5, 0.5)(v), SIGNED),
    "-1..1 to raw": (lambda k, v: (v + 1.0) * 127.5, SIGNED),
    "behind augmentation": (lambda k, v: k.layers.Rescaling(1 / 255)(k.layers.RandomFlip()(v)), RAW),
    "in nested models": (
        lambda k, v: k.Sequential([k.layers.RandomZoom(0.1), k.Sequential([k.layers.Rescaling(1 / 255)])])(v),
        RAW,
    ),
    "a doubling": (lambda k, v: k.layers.Rescaling(2.0)(v), None),
    "a factor for nothing known": (lambda k, v: k.layers.Rescaling(1 / 100)(v), None),
    "a normalization never adapted": (lambda k, v: k.layers.Normalization(mean=0.0, variance=1.0)(v), None),
    "a negative": (lambda k, v: k.layers.Rescaling(-1 / 255, 1)(v), None),
    "nothing": (lambda k, v: v, None),
    "after a convolution": (lambda k, v: k.layers.Rescaling(1 / 255)(k.layers.Conv2D(3, 1)(v)), None),
    "beside a convolution": (
        lambda k, v: k.layers.Concatenate()([k.layers.Rescaling(1 / 255)(v), k.layers.Conv2D(3, 1)(v)]),
        None,
    ),
}


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("clips", [False, True])
def test_first_layers_say_what_pixels_go_in(name, clips, keras):
    first, wanted = FIRST[name]
    layers = keras.layers
    crop = keras.Input((8, 8, 3))
    values = layers.Flatten()(layers.Conv2D(2, 3)(first(keras, crop)))
    if clips:
        clip = keras.Input((3, 8, 8, 3))
        features = layers.TimeDistributed(keras.Model(crop, values))(clip)
        model = keras.Model(clip, layers.Dense(1, activation="sigmoid")(layers.LSTM(2)(features)))
    else:
        model = keras.Model(crop, layers.Dense(1, activation="sigmoid")(values))
    pixels = cut(model, None, None).pixels
    if wanted is None:
        assert pixels is None
    else:
        assert (pixels["mean"], pixels["scale"]) == ([wanted[0]] * 3, [pytest.approx(wanted[1])] * 3)
        assert pixels["words"].startswith("the model: its ")


@pytest.mark.parametrize("around", ["clip", "frame"])
def test_first_layers_on_whole_clips(around, keras):
    layers = keras.layers
    rescaling = layers.Rescaling(1 / 127.5, -1)
    clip = keras.Input((3, 8, 8, 3))
    values = rescaling(clip) if around == "clip" else layers.TimeDistributed(rescaling)(clip)
    values = layers.LSTM(2)(
        layers.TimeDistributed(layers.Flatten())(layers.TimeDistributed(layers.Conv2D(2, 3))(values))
    )
    pixels = cut(keras.Model(clip, layers.Dense(1, activation="sigmoid")(values)), None, None).pixels
    assert (pixels["mean"], pixels["scale"]) == ([0.0] * 3, [1.0] * 3)
    assert "raw pixels, 0..255" in pixels["words"]


def test_no_transposition_is_left_around_what_mobile_networks_are_made_of(keras):
    """A hard swish right after a convolution, squeeze and excitation, batch norms outside of the nested model."""
    layers = keras.layers
    clip = keras.Input((3, 32, 32, 3))
    values = layers.TimeDistributed(layers.Conv2D(8, 3, strides=2))(clip)
    values = layers.TimeDistributed(layers.Activation("hard_silu"))(values)
    values = layers.TimeDistributed(layers.Conv2D(8, 3, use_bias=False))(values)
    values = layers.ReLU()(layers.BatchNormalization()(values))
    squeezed = layers.TimeDistributed(layers.GlobalAveragePooling2D(keepdims=True))(values)
    values = layers.Multiply()([values, layers.TimeDistributed(layers.Conv2D(8, 1, activation="sigmoid"))(squeezed)])
    model = keras.Model(clip, layers.Dense(1, activation="sigmoid")(layers.LSTM(2)(flat(keras, values))))
    found = operators(export(cut(scattered(model), None, None)).backbone)
    assert not {"Transpose", "BatchNormalization", "Unsqueeze"} & set(found)
    assert found["Conv"] == 3


def test_zeros_around_negative_values_win_a_maximum(keras):
    """ONNX Runtime fuses Pad and MaxPool as if padding never won."""
    layers = keras.layers
    crop = keras.Input((8, 8, 3))
    values = layers.Rescaling(-1.0, -1.0)(layers.Conv2D(2, 1, activation="relu")(crop))
    values = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(values))
    model = scattered(keras.Model(crop, layers.Dense(1, activation="sigmoid")(layers.Flatten()(values))))
    crops = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32)
    network = OnnxRuntimeNetwork(export(cut(model, None, None)).backbone, name="backbone")
    found = network.run({"crops": np.ascontiguousarray(crops.transpose(0, 3, 1, 2))})["outputs"]
    np.testing.assert_allclose(found, np.asarray(model(crops)), atol=1e-6)


# name -> (side, what its own first layers say); others are rows of the matrix
BACKBONES = {
    "MobileNetV3Small": (64, RAW),
    "EfficientNetV2B0": (64, RAW),
    "ConvNeXtTiny": (64, RAW),
    "InceptionV3": (96, None),
    "ResNet50V2": (64, None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_backbones(name, keras, tiny):
    side, wanted = BACKBONES[name]
    layers = keras.layers
    cnn = getattr(keras.applications, name)(include_top=False, weights=None, input_shape=(side, side, 3), pooling="avg")
    clip = keras.Input((tiny.frames, side, side, 3))
    state = layers.LSTM(8)(layers.TimeDistributed(cnn)(clip))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(state))
    mean, scale = wanted or SIGNED
    crop = replace(tiny.spec.crop, size_px=side, mean=(mean,) * 3, scale=(scale,) * 3)
    spec: ModelSpec = replace(tiny.spec, crop=crop)
    crops = make_crops(crop, spec.clip, None)
    seed_weights(model, spec, crops=crops)
    parts, _, figures = prove(model, crops, spec)
    assert (parts.pixels is None) == (wanted is None)
    assert figures["outputs_max_diff"] < 1e-4
    assert figures["fake_score_max"] - figures["fake_score_min"] > 0.05
