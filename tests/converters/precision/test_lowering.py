"""From a Keras file to fp16 and int8 variants that are proved, or named as left out with the layers that hurt."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from deepfake_edge.bundle import read_bundle
from deepfake_edge.cli import main
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.converters.precision import variants
from deepfake_edge.errors import BundleError, ConversionError, InvalidInput
from deepfake_edge.golden import load_proven
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.untrained import seed_weights

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

OUTLIER = 4000.0
# The seeded weights make scores that leap; a trained model's do not.
GATES = {"int8.mean": "0.06", "int8.flips": "0.15"}


def network(graph: bytes, name: str) -> OnnxRuntimeNetwork:
    return OnnxRuntimeNetwork(graph, name=name)


@pytest.fixture(scope="module")
def crops_folder(tiny, tmp_path_factory):
    """Ready crops: variations of the photograph, in files of their own."""
    folder = tmp_path_factory.mktemp("crops")
    for number, crop in enumerate(make_crops(tiny.per_frame.crop, tiny.per_frame.clip, None).crops):
        cv2.imwrite(str(folder / f"{number:03}.png"), crop[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def plain(keras, tiny):
    """A per-frame network of three convolutions."""

    def build(outlier: float = 1.0):
        layers = keras.layers
        crops = keras.Input((tiny.side, tiny.side, 3))
        values = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="first")(crops)
        values = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(values)
        values = layers.Conv2D(8, 3, padding="same", activation="relu", name="third")(values)
        values = layers.GlobalAveragePooling2D()(values)
        model = keras.Model(crops, layers.Dense(1, activation="sigmoid")(values))
        seed_weights(model, tiny.per_frame)
        kernel, bias = model.get_layer("second").get_weights()
        kernel[..., 0] *= outlier
        bias[0] *= outlier
        model.get_layer("second").set_weights([kernel, bias])
        # ReLU(a x) = a ReLU(x): the next layer takes the factor off again, and the function stays as it is.
        kernel, bias = model.get_layer("third").get_weights()
        kernel[:, :, 0] /= outlier
        model.get_layer("third").set_weights([kernel, bias])
        return model

    return build


@pytest.fixture(scope="module")
def options(tiny, crops_folder):
    overrides = {**tiny.overrides, "classes": "fake"}
    del overrides["sample_fps"]
    return ConvertOptions(
        overrides=overrides, calibration=crops_folder, precisions=("fp32", "fp16", "int8"), gates=GATES
    )


@pytest.fixture(scope="module")
def easy(plain, options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("easy")
    plain().save(folder / "m.keras")
    return convert(folder / "m.keras", folder / "m.dfe", options)


def test_every_variant_carries_its_own_proof(easy):
    assert not easy.left_out
    bundle = read_bundle(easy.path)
    assert {"fp32", "fp16", "int8"} <= set(bundle.variants)
    for name, variant in bundle.variants.items():
        assert variant.golden is not None
        assert variant.parity["outputs_max_diff"] <= {"fp32": 1e-4, "fp16": 5e-3}.get(name, 0.1)
    int8 = bundle.variants["int8"]
    assert int8.parity["outputs_mean_diff"] <= 0.06
    assert int8.parity["rank_agreement"] > 0.9
    assert (len(int8.layers["int8"]), int8.layers["fp32"]) == (3, [])
    assert int8.layers["calibration"]["ranges_by"] in ("minmax", "percentile", "entropy", "mse")
    # A quarter of the bytes, and not the float32 weights beside them.
    assert len(int8.backbone or b"") < 0.75 * len(bundle.variants["fp32"].backbone or b"")


def test_int8_means_int8(easy):
    """The variants differ from float32 by their rounding: they are neither float32 again nor something else."""
    bundle = read_bundle(easy.path)
    exact = bundle.variants["fp32"].golden.outputs
    for name, least, most in (("fp16", 1e-7, 5e-3), ("int8", 1e-4, 0.1)):
        apart = np.abs(bundle.variants[name].golden.outputs - exact).max()
        assert least < apart < most, name


def test_they_are_judged_on_other_crops_than_they_were_calibrated_on(easy):
    bundle = read_bundle(easy.path)
    int8 = bundle.variants["int8"]
    assert int8.layers["calibration"]["crops"] == 43
    assert int8.parity["crops"] == 64
    assert any("calibrat" in text for text in easy.warnings), "fewer than 200 crops calibrate it"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_they_run_and_replay(easy, precision):
    with load_proven(read_bundle(easy.path), precision, choose_runtime(RuntimeOptions("onnxruntime"))) as model:
        assert model.precision == precision


def test_an_outlier_channel_breaks_int8_and_mixed_precision_mends_it(plain, options, tmp_path):
    plain(OUTLIER).save(tmp_path / "hard.keras")
    report = convert(tmp_path / "hard.keras", tmp_path / "hard.dfe", replace(options, precisions=("fp32", "int8")))
    assert not report.left_out
    int8 = read_bundle(report.path).variants["int8"]
    back = [name for group in int8.layers["put_back"] for name in group["layers"]]
    assert back
    assert sorted(int8.layers["fp32"]) == sorted(back)
    assert int8.layers["int8"], "some layers still run in int8"
    assert back[0] == "conv_2", "what reads the outlier channel loses most"
    assert 0 < int8.layers["put_back"][0]["multiply_adds"] < 1
    assert any("conv_2" in text and "times as long" in text for text in report.warnings)
    assert int8.parity["outputs_mean_diff"] <= 0.06


def test_what_cannot_pass_is_left_out_and_says_which_layers_hurt(plain, options, tmp_path, capsys):
    plain().save(tmp_path / "m.keras")
    strict = replace(options, precisions=("fp32", "int8"), gates={"int8.max": "0"})
    report = convert(tmp_path / "m.keras", tmp_path / "m.dfe", strict)
    assert list(read_bundle(report.path).variants) == ["fp32"]
    assert "largest difference" in report.left_out["int8"][0]
    assert "the layers that lose most" in report.left_out["int8"][-2]
    assert "--gate int8" in report.left_out["int8"][-1]
    with pytest.raises(ConversionError, match="nothing was written"):
        convert(tmp_path / "m.keras", tmp_path / "none.dfe", replace(strict, precisions=("int8",)))
    assert not (tmp_path / "none.dfe").exists()


def test_what_fails_after_int8_has_passed_leaves_it_in(plain, options, tmp_path, monkeypatch):
    def fails(*_):
        raise BundleError("a candidate: refused")

    monkeypatch.setattr(variants, "relative_times", fails)
    plain().save(tmp_path / "m.keras")
    report = convert(tmp_path / "m.keras", tmp_path / "m.dfe", replace(options, precisions=("fp32", "int8")))
    assert (list(read_bundle(report.path).variants), report.left_out) == (["fp32", "int8"], {})
    assert "int8: a candidate: refused" in report.warnings


def test_a_network_that_is_all_classifier_is_not_given_as_lowered(keras, tiny, options, tmp_path):
    crops = keras.Input((tiny.side, tiny.side, 3))
    model = keras.Model(crops, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Flatten()(crops)))
    seed_weights(model, tiny.per_frame)
    model.save(tmp_path / "m.keras")
    report = convert(tmp_path / "m.keras", tmp_path / "m.dfe", options)
    assert list(report.variants) == ["fp32"]
    assert {why for (why,) in report.left_out.values()} == {
        "it has no convolution or product with constant weights before its classifier"
    }


def test_passing_where_all_scores_are_alike_is_told(plain, options, tmp_path):
    """The differences are as small as the scores' own: a dead network would pass as well."""
    model = plain()
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * 1e-7, bias])
    model.save(tmp_path / "m.keras")
    report = convert(tmp_path / "m.keras", tmp_path / "m.dfe", replace(options, precisions=("fp32", "int8")))
    assert "int8" in report.variants
    assert any("does not order these crops as the source does" in text for text in report.warnings)


def test_a_limit_for_what_is_not_asked_for_is_refused(options, tmp_path):
    (tmp_path / "m.keras").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"gate: int8.max: that precision is not asked for"):
        convert(
            tmp_path / "m.keras",
            tmp_path / "m.dfe",
            replace(options, precisions=("fp32",), gates={"int8.max": "0"}),
        )


def test_int8_without_calibration_crops_is_refused_at_once(plain, options, tmp_path):
    plain().save(tmp_path / "m.keras")
    with pytest.raises(InvalidInput, match="int8 needs real face crops"):
        convert(tmp_path / "m.keras", tmp_path / "m.dfe", replace(options, calibration=None))


@pytest.mark.parametrize("precisions", [(), ("fp64",), ("int8", "int8"), ("bf16",)])
def test_unknown_precisions_are_refused(plain, options, tmp_path, precisions):
    (tmp_path / "m.keras").write_bytes(b"")
    with pytest.raises(InvalidInput, match="precision"):
        convert(tmp_path / "m.keras", tmp_path / "m.dfe", replace(options, precisions=precisions))


def test_the_command_prints_every_variant_and_inspect_the_layers(easy, capsys):
    assert main(["inspect", str(easy.path)]) == 0
    said = capsys.readouterr().out
    assert "int8: backbone" in said
    assert "ranges_by" in said
    assert main(["verify", str(easy.path), "--runtime", "onnxruntime"]) == 0
