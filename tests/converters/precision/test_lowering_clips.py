"""Models of clips in lower precision: cut into backbone and head, and whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_edge.bundle import read_bundle
from deepfake_edge.cli import main
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.golden import load_proven
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime
from deepfake_edge.training.sample_clip import make_clip
from deepfake_edge.training.untrained import seed_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

# Weights that nobody trained flip easily.
GATES = {"int8.mean": "0.1", "int8.flips": "0.3", "fp16.max": "0.05", "fp16.flips": "0.1"}


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    clip = tmp_path_factory.mktemp("footage") / "clip.mp4"
    make_clip(clip)
    return clip


@pytest.fixture(scope="module")
def options(tiny, footage):
    return ConvertOptions(
        overrides=tiny.overrides, calibration=footage, precisions=("fp32", "fp16", "int8"), gates=GATES
    )


def test_a_model_that_is_cut_is_lowered_before_the_cut(saved, options, tmp_path, capsys):
    report = convert(saved, tmp_path / "m.dfe", options)
    assert not report.left_out
    bundle = read_bundle(report.path)
    fp32, int8 = bundle.variants["fp32"], bundle.variants["int8"]
    assert int8.backbone != fp32.backbone
    assert int8.head == fp32.head, "the head stays in float32"
    methods = int8.layers["calibration"]["loss_by_method"]
    assert all(0 < loss < 1 for loss in methods.values()), methods
    with load_proven(bundle, "int8", choose_runtime(RuntimeOptions("onnxruntime"))) as model:
        assert model.precision == "int8"
    assert main(["inspect", str(report.path)]) == 0
    assert f"calibration: ranges_by       {int8.layers['calibration']['ranges_by']}" in capsys.readouterr().out


def test_a_network_of_whole_clips_is_lowered_as_a_whole(keras, tiny, clip_crops, options, tmp_path):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = layers.Conv3D(6, 3, strides=2, padding="same", activation="relu")(clip)
    values = layers.GlobalAveragePooling3D()(layers.Conv3D(8, 3, padding="same", activation="relu")(values))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(values))
    seed_weights(model, tiny.spec, crops=clip_crops)
    model.save(tmp_path / "m.keras")
    report = convert(tmp_path / "m.keras", tmp_path / "m.dfe", replace(options, fused=True))
    assert not report.left_out
    int8 = read_bundle(report.path).variants["int8"]
    assert int8.backbone is None
    assert len(int8.layers["int8"]) == 2
