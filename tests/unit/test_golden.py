"""The golden crops, replayed: what a variant gave when it was converted is what it must give here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge import Detector, InferenceError, InvalidInput
from deepfake_edge.bundle import Bundle, Variant, write_bundle
from deepfake_edge.cli import main
from deepfake_edge.data import Choice
from deepfake_edge.golden import TOLERANCE, load, replay
from deepfake_edge.golden_arrays import Outputs
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime, precisions_of
from fakes import bright_means_fake

needs_openvino = pytest.mark.skipif(not precisions_of("openvino"), reason="OpenVINO is not installed")
needs_bf16 = pytest.mark.skipif("bf16" not in precisions_of("openvino"), reason="no OpenVINO on a CPU with bfloat16")


def shifted(bundle: Bundle, by: float, name: str = "fp32") -> Bundle:
    """The same bundle, but what `name` gave when it was converted was more by `by` for its second window."""
    variant = bundle.variants["fp32"]
    outputs = variant.golden.outputs.copy()
    outputs[1] += by
    return replace(
        bundle, variants={**bundle.variants, name: replace(variant, golden=Outputs(variant.golden.features, outputs))}
    )


def at(bundle: Bundle, precision: str | None, runtime: str = "onnxruntime"):
    return load(bundle, precision, choose_runtime(RuntimeOptions(runtime, precision, 1), bundle))


def test_its_own_outputs_decide_and_keras_is_told_apart():
    bundle = bright_means_fake()
    golden = replace(bundle.golden, outputs=bundle.golden.outputs + np.float32([[0.3], [0], [0], [0]]))
    with at(replace(bundle, golden=golden), "fp32") as model:
        result = replay(model, replace(bundle, golden=golden))
    assert result.outputs_max_diff == pytest.approx(0.3, abs=1e-5)
    assert result.outputs_mean_diff == pytest.approx(0.075, abs=1e-5)
    assert (result.own_max_diff < 1e-6, result.flips, result.passed) == (True, 0, True)


@pytest.mark.parametrize(("by", "passed"), [(TOLERANCE["fp32"] / 2, True), (TOLERANCE["fp32"] * 2, False)])
def test_fp32_passes_up_to_its_tolerance(by, passed):
    bundle = shifted(bright_means_fake(), by)
    with at(bundle, "fp32") as model:
        assert replay(model, bundle).passed is passed


@pytest.mark.parametrize("temperature", [1.0, 0.25, 4.0])
@pytest.mark.parametrize(("threshold_above", "flips"), [(0.001, 0), (0.03, 1)])
def test_another_label_is_a_flip_unless_rounding_alone_decides(threshold_above, flips, temperature):
    """Of int8, whose tolerance is 0.02: an output that was `threshold_above` over the threshold now lies below it."""
    bundle = shifted(bright_means_fake(), 0.05, "int8")
    was = float(bundle.variants["int8"].golden.outputs[1, 0])
    odds = (was - threshold_above) / (1 - was + threshold_above)
    threshold = 1 - 1 / (1 + odds ** (1 / temperature))
    bundle = replace(bundle, spec=replace(bundle.spec, threshold=threshold, temperature=temperature))
    with at(bundle, "int8") as model:
        assert replay(model, bundle).flips == flips


@pytest.mark.parametrize("threshold", [0.0, 1e-7, 1.0])
def test_any_threshold_and_temperature_can_be_replayed(threshold):
    bundle = bright_means_fake()
    bundle = replace(bundle, spec=replace(bundle.spec, threshold=threshold, temperature=100.0))
    with at(bundle, "fp32") as model:
        assert replay(model, bundle).flips == 0


def test_a_draft_cannot_be_replayed():
    bundle = bright_means_fake()
    draft = replace(bundle, variants={"fp32": replace(bundle.variants["fp32"], golden=None)})
    with at(draft, "fp32") as model, pytest.raises(InvalidInput, match="has not been run"):
        replay(model, draft)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_nobody_relies_on_what_says_something_else_here(precision, tmp_path):
    write_bundle(shifted(bright_means_fake(), 0.1, precision), tmp_path / "other.dfe")
    with pytest.raises(InferenceError, match=rf"{precision} on onnxruntime .* differ by up to 1.0e-01 .* verify"):
        Detector(tmp_path / "other.dfe", faces="whole", runtime="onnxruntime", precision=precision)


def test_int8_is_the_right_one_for_the_runtime():
    bundle = bright_means_fake()
    fp32: Variant = bundle.variants["fp32"]
    bundle = replace(bundle, variants={"fp32": fp32, "int8": fp32, "int8-unsigned": fp32})
    with at(bundle, "int8") as model:
        assert (model.precision, model.variant) == ("int8", "int8-unsigned")
    with at(bundle, None) as model:
        assert (model.precision, model.variant) == ("fp32", "fp32")
    elsewhere = replace(choose_runtime(RuntimeOptions("onnxruntime")), choice=Choice("openvino", "named"))
    with load(bundle, "int8", elsewhere) as model:
        assert (model.precision, model.variant) == ("int8", "int8")


@needs_openvino
def test_verify_replays_all_that_a_bundle_has_on_openvino(tmp_path, capsys):
    bundle = bright_means_fake(frames=4, sample_fps=10.0)
    write_bundle(shifted(bundle, 0.1, "int8"), tmp_path / "two.dfe")
    assert main(["verify", str(tmp_path / "two.dfe"), "--runtime", "openvino"]) == 1
    told = capsys.readouterr().out.split("\n\n")
    assert ["True" in table for table in told[:2]] == [True, False]
    assert all("openvino (named)" in table for table in told[:2])


@needs_bf16
def test_bfloat16_is_held_against_fp32_and_named(tmp_path, capsys):
    path = tmp_path / "model.dfe"
    write_bundle(bright_means_fake(frames=4, sample_fps=10.0), path)
    with Detector(path, faces="whole", precision="bf16") as detector:
        assert (detector.precision, detector.runtime.name) == ("bf16", "openvino")
        model = detector.members[0].model
        assert (model.precision, model.variant) == ("bf16", "fp32")
    assert main(["verify", str(path), "--precision", "bf16"]) == 0
    assert "bf16" in capsys.readouterr().out
    write_bundle(shifted(bright_means_fake(frames=4, sample_fps=10.0), 0.1), path)
    with pytest.raises(InferenceError, match="bf16 on openvino"):
        Detector(path, faces="whole", precision="bf16")


@pytest.mark.parametrize(
    ("had", "asked", "said"),
    [
        ("fp32", "int8", "has fp32, got 'int8'; to have it: .* --precision fp32,int8 --calibration PATH$"),
        ("fp16", "bf16", "has fp16, got 'bf16', which is computed from fp32; to have it: .* --precision fp16,fp32$"),
        ("fp32", "fp8", "has fp32, got 'fp8'$"),
    ],
)
def test_a_precision_that_is_not_there_says_how_to_have_it(had, asked, said):
    bundle = bright_means_fake()
    bundle = replace(bundle, variants={had: bundle.variants["fp32"]})
    with pytest.raises(InvalidInput, match=said):
        bundle.variant_for(asked, "onnxruntime")
