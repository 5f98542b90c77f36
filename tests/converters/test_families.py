"""Every family: it builds, answers to faces when seeded, and is recognised as itself at any size."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.exporting.export import export
from deepfake_edge.converters.keras_models.read import recognise
from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training import workshop
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.families import FAMILIES
from deepfake_edge.training.families.resnext50_lstm import build_resnext50
from deepfake_edge.training.untrained import seed_weights

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

SMALL = {
    "xception-lstm": [{"frames": 3, "size_px": 71, "units": 5}, {"frames": 4, "size_px": 75, "units": 6}],
    "resnet-lstm": [{"frames": 3, "size_px": 32, "units": 5}, {"frames": 4, "size_px": 40, "units": 6}],
    "xception-conv-rnn": [
        {"frames": 3, "size_px": 71, "units": 5, "rnn": "bigru", "frame_scores": 1},
        {"frames": 4, "size_px": 75, "units": 6, "rnn": "lstm", "frame_scores": 0},
    ],
    "cnn-lstm": [{"frames": 60, "size_px": 24, "units": 16}, {"frames": 4, "size_px": 25, "units": 5}],
    "resnext50-lstm": [{"frames": 3, "size_px": 32, "units": 5}, {"frames": 4, "size_px": 40, "units": 6}],
    "mobile-gru": [{"frames": 3, "size_px": 32, "units": 5}, {"frames": 4, "size_px": 40, "units": 6}],
    "cnn": [{"size_px": 32, "filters": 4}, {"size_px": 40, "filters": 6}],
    "meso4": [{"size_px": 32}, {"size_px": 64}],
    "mesoinception4": [{"size_px": 32}, {"size_px": 64}],
}
# Dozens of layers: seconds each.
DEEP = ("xception-lstm", "resnet-lstm", "xception-conv-rnn", "resnext50-lstm")
# Trainable parameters at full size. Those of Meso4 and MesoInception4 stand in their paper.
PARAMETERS = {
    "xception-lstm": 23_167_786,
    "resnet-lstm": 25_895_426,
    "xception-conv-rnn": 24_251_050,
    "cnn-lstm": 4_918_769,
    "resnext50-lstm": 25_340_738,
    "mobile-gru": 119_122,
    "cnn": 389_633,
    "meso4": 27_977,
    "mesoinception4": 28_615,
}


@pytest.fixture(scope="module")
def seeded(keras):
    """A family's first small model with seeded weights, its crops, and their values."""

    @cache
    def build(name):
        family, sizes = FAMILIES[name], SMALL[name][0]
        clip = replace(family.spec.clip, frames=sizes.get("frames", 1))
        spec = replace(family.spec, crop=replace(family.spec.crop, size_px=sizes["size_px"]), clip=clip)
        model = family.build(**sizes)
        crops = make_crops(spec.crop, spec.clip, None)
        seed_weights(model, spec, crops=crops)
        values = normalise(crops.crops, spec.crop).transpose(0, 2, 3, 1)
        return SimpleNamespace(model=model, spec=spec, crops=crops, values=values)

    return build


def trainable(model):
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def test_every_family_is_tested():
    assert set(SMALL) == set(PARAMETERS) == set(FAMILIES)
    assert all(family.name == family.spec.family == name for name, family in FAMILIES.items())


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        pytest.param(name, sizes, marks=pytest.mark.slow if name in DEEP and again else ())
        for name, both in SMALL.items()
        for again, sizes in enumerate(both)
    ],
)
def test_a_family_is_recognised_at_any_size(keras, name, sizes):
    model = FAMILIES[name].build(**sizes)
    assert recognise(model) == (FAMILIES[name], sizes)
    assert [other for other, family in FAMILIES.items() if family.sizes(model) is not None] == [name]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in SMALL]
)
def test_seeded_scores_spread(seeded, name):
    given = seeded(name)
    taken = given.values if given.spec.clip.frames == 1 else given.values[given.crops.windows]
    outputs = given.model.predict(taken, verbose=0)
    for output in outputs if isinstance(outputs, list) else [outputs]:
        scores = output[..., -1]
        assert np.isfinite(scores).all()
        assert scores.min() <= 0.1
        assert scores.max() >= 0.9
        assert len(np.unique(scores.round(3))) >= 4


def test_the_same_seed_gives_the_same_weights(seeded):
    given = seeded("cnn")
    first, again, other = (FAMILIES["cnn"].build(**SMALL["cnn"][0]) for _ in range(3))
    for model, seed in ((first, 0), (again, 0), (other, 1)):
        seed_weights(model, given.spec, seed=seed, crops=given.crops)
    assert all(np.array_equal(*pair) for pair in zip(first.get_weights(), again.get_weights(), strict=True))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


@pytest.mark.parametrize("rnn", ["lstm", "bilstm", "gru", pytest.param("bigru", marks=pytest.mark.slow)])
def test_xception_conv_rnn_has_four_recurrences_and_scores_of_frames(keras, rnn):
    sizes = {"frames": 3, "size_px": 71, "units": 4, "rnn": rnn, "frame_scores": 1}
    family = FAMILIES["xception-conv-rnn"]
    model = family.build(**sizes)
    assert family.sizes(model) == sizes
    clip, frames = model.output_shape
    assert (clip, frames) == ((None, 2), (None, 3, 2))


@pytest.mark.slow
def test_the_score_of_a_frame_is_its_own(seeded):
    given = seeded("xception-conv-rnn")
    clip = given.values[[0, 31, 63]]
    score, frame_scores = given.model.predict(np.stack([clip, clip[::-1]]), verbose=0)
    assert np.abs(frame_scores[0] - frame_scores[1][::-1]).max() < 1e-5
    assert np.abs(score[0] - score[1]).max() > 1e-3
    assert np.ptp(frame_scores[0][:, 1]) > 0.01


@pytest.mark.parametrize("wrong", [{"rnn": "rnn"}, {"rnn": "LSTM"}, {"frame_scores": 2}])
def test_sizes_that_xception_conv_rnn_does_not_know(keras, wrong):
    with pytest.raises(InvalidInput, match="wanted"):
        FAMILIES["xception-conv-rnn"].build(**wrong)


def test_a_model_of_another_kind_is_of_no_family(keras):
    layers = keras.layers
    clip = keras.Input((4, 24, 24, 3))
    frames = layers.TimeDistributed(layers.Conv2D(32, 2, activation="tanh"))(clip)
    frames = layers.Reshape((4, -1))(layers.TimeDistributed(layers.AveragePooling2D(2))(frames))
    state = layers.LSTM(16, activation="relu")(frames)
    near = keras.Model(clip, layers.Dense(1, activation="sigmoid")(state))
    assert FAMILIES["cnn-lstm"].sizes(near) is not None
    assert recognise(near) is None


def test_parameters_of_mesonet(keras):
    for name in ("meso4", "mesoinception4"):
        assert trainable(FAMILIES[name].build()) == PARAMETERS[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_at_full_size(keras, name):
    family = FAMILIES[name]
    model = family.build()
    spec = family.spec
    window = () if spec.clip.frames == 1 else (spec.clip.frames,)
    assert trainable(model) == PARAMETERS[name]
    assert model.input_shape == (None, *window, spec.crop.size_px, spec.crop.size_px, 3)
    assert model.output_shape == (None, 2 if spec.activation == "softmax" else 1)
    assert recognise(model) == (family, family.sizes(model))


def test_resnext50_is_the_published_one(keras):
    # 25,028,904 with the layer of 1000 classes.
    assert trainable(build_resnext50(32)) == 25_028_904 - (2048 * 1000 + 1000)


@pytest.mark.slow
def test_grouped_convolutions_stay_grouped(seeded):
    given = seeded("resnext50-lstm")
    networks = export(cut(given.model, None, None))
    graph = workshop.onnx().load_from_string(networks.backbone).graph
    groups = [
        next(item.i for item in node.attribute if item.name == "group") for node in graph.node if node.op_type == "Conv"
    ]
    assert len(groups) == 53
    assert sorted(set(groups)) == [1, 32]
    assert groups.count(32) == 16
    clip = given.values[given.crops.windows[3]]
    with (
        closing(OnnxRuntimeNetwork(networks.backbone, name="backbone")) as backbone,
        closing(OnnxRuntimeNetwork(networks.head, name="head")) as head,
    ):
        planes = np.ascontiguousarray(clip.transpose(0, 3, 1, 2))
        outputs = head.run({"window": backbone.run({"crops": planes})["features"][None]})["outputs"]
    assert np.abs(outputs - given.model.predict(clip[None], verbose=0)).max() <= 1e-4


def test_the_layers_of_mesoinception4_stand_as_in_its_weight_files(keras):
    """Keras 2 stores weights by the order of layers, which follows from the order that the authors made them in."""
    tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras: the Keras 2 that wrote such files")
    own = FAMILIES["mesoinception4"].build(64)
    theirs = published_mesoinception4(tf_keras.layers, tf_keras.Model, 64)
    order = [[tuple(w.shape) for w in layer.weights] for layer in own.layers if layer.weights]
    assert order == [[tuple(w.shape) for w in layer.weights] for layer in theirs.layers if layer.weights]


def published_mesoinception4(layers, model, side):
    """The order in which the published code makes its layers."""

    def branch(values, filters, dilation):
        values = layers.Conv2D(filters, 1, padding="same", activation="relu")(values)
        return layers.Conv2D(filters, 3, dilation_rate=dilation, padding="same", activation="relu")(values)

    crops = values = layers.Input((side, side, 3))
    for first, *others in ((1, 4, 4, 2), (2, 4, 4, 2)):
        one = layers.Conv2D(first, 1, padding="same", activation="relu")(values)
        rest = [branch(values, filters, dilation) for dilation, filters in enumerate(others, start=1)]
        values = layers.BatchNormalization()(layers.Concatenate(axis=-1)([one, *rest]))
        values = layers.MaxPooling2D(2, padding="same")(values)
    for pool in (2, 4):
        values = layers.Conv2D(16, 5, padding="same", activation="relu")(values)
        values = layers.MaxPooling2D(pool, padding="same")(layers.BatchNormalization()(values))
    values = layers.LeakyReLU(0.1)(layers.Dense(16)(layers.Dropout(0.5)(layers.Flatten()(values))))
    return model(crops, layers.Dense(1, activation="sigmoid")(layers.Dropout(0.5)(values)))
