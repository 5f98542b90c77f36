"""From a bundle to a verdict through engines, over the doubles of CUDA and TensorRT, of every version of the latter."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge import Detector, EngineMismatch, Frame, InferenceError, InvalidInput, MissingDependency
from deepfake_edge.bundle import write_bundle
from deepfake_edge.cli import main
from deepfake_edge.data import Face
from deepfake_edge.gpu import build_engines, why_no_engines
from deepfake_edge.runtime_choice import RuntimeOptions, choose_runtime, precisions_of
from deepfake_edge.runtimes import cropping
from doubles.kernel import kernel_double
from fakes import bright_means_fake

FRAMES = 4


@pytest.fixture
def bundle():
    return bright_means_fake(frames=FRAMES, sample_fps=10.0)


@pytest.fixture
def path(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "bright.dfe"
    write_bundle(bundle, path)
    return path


def frames(count=12):
    random = np.random.default_rng(3)
    for index in range(count):
        yield Frame(index, index / 10.0, random.integers(0, 256, (48, 64, 3), np.uint8))


class TwoFaces:
    def find(self, pictures):
        return [[Face((4.0, 4.0, 30.0, 40.0), 1.0), Face((33.5, 2.0, 70.0, 41.0), 1.0)] for _ in pictures]


def scores_of(detector):
    detector._idle_finders[:] = [TwoFaces()]
    with detector.session() as session:
        return [score.fake_score for frame in frames() for score in session.observe(frame).scores]


def test_what_was_built_judges_as_onnx_runtime_does(path, tensorrt_double, capsys):
    assert main(["build", str(path)]) == 0
    told = capsys.readouterr()
    assert "golden crops: outputs within" in told.out
    with Detector(path, faces="whole", runtime="onnxruntime") as detector:
        wanted = scores_of(detector)
    with Detector(path, faces="whole") as detector:
        assert str(detector.runtime) == "tensorrt (auto: this device's engines are in the cache)"
        found = scores_of(detector)
    assert len(found) == len(wanted) == 2 * (12 - FRAMES + 1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_crops_that_the_kernel_cuts_give_the_same_scores(path, bundle, tensorrt_double, monkeypatch):
    monkeypatch.setattr("deepfake_edge.cuda.crops.kernel_image", kernel_double)
    build_engines(bundle)
    with Detector(path, faces="whole", runtime="tensorrt") as detector:
        wanted = scores_of(detector)
    with Detector(path, faces="whole", runtime="tensorrt", crops="cuda") as detector:
        found = scores_of(detector)
    assert found == pytest.approx(wanted, abs=1e-6)


def test_a_kernel_that_cuts_other_crops_is_refused_when_it_is_loaded(path, bundle, tensorrt_double, monkeypatch):
    monkeypatch.setattr("deepfake_edge.cuda.crops.kernel_image", kernel_double)
    build_engines(bundle)
    crop = cropping.FaceCropper.crop
    monkeypatch.setattr(
        cropping.FaceCropper,
        "crop",
        lambda self, image, boxes, spec, *rest: crop(self, image, boxes + 2, spec, *rest),
    )
    with pytest.raises(InferenceError, match="cuts other crops"):
        Detector(path, faces="whole", runtime="tensorrt", crops="cuda")


def test_without_the_kernel_crops_are_not_cut_on_the_gpu(path, bundle, tensorrt_double, monkeypatch, tmp_path):
    monkeypatch.setattr("deepfake_edge._native.__file__", str(tmp_path / "_native.so"))
    build_engines(bundle)
    with pytest.raises(MissingDependency, match="DEEPFAKE_EDGE_CUDA=ON"):
        Detector(path, faces="whole", runtime="tensorrt", crops="cuda")


def test_a_fused_clip_network_has_no_crops_to_cut_on_the_gpu(tensorrt_double, path):
    write_bundle(bright_means_fake(frames=FRAMES, sample_fps=10.0, fused=True), path)
    with pytest.raises(InvalidInput, match="fused clip network"):
        Detector(path, faces="whole", runtime="tensorrt", crops="cuda")


def test_auto_says_why_it_takes_the_next_runtime_and_builds_nothing(path, tensorrt_double):
    with Detector(path, faces="whole") as detector:
        assert detector.runtime.name != "tensorrt"
        assert "not tensorrt: bright backbone: no engine was built for it on this machine" in detector.runtime.reason
        assert "deepfake-edge build" in detector.runtime.reason
    assert tensorrt_double.builds == []


def test_a_runtime_that_was_named_is_not_replaced(path, tensorrt_double):
    with pytest.raises(EngineMismatch, match="no engine was built for it on this machine"):
        Detector(path, faces="whole", runtime="tensorrt")
    assert tensorrt_double.builds == []


def test_another_driver_makes_the_engines_unfit_and_auto_says_so(path, bundle, tensorrt_double, cuda_double):
    build_engines(bundle)
    assert why_no_engines(bundle, None) is None
    cuda_double.facts(driver_version="13.1")
    with Detector(path, faces="whole") as detector:
        assert "built with a driver for CUDA 13.0, this is one for 13.1; build it again" in detector.runtime.reason
        assert detector.runtime.name != "tensorrt"


def test_no_gpu_is_a_reason_too(path, tensorrt_double, cuda_double):
    cuda_double.fail("cuInit", 100, times=1000)
    with Detector(path, faces="whole") as detector:
        assert "not tensorrt: " in detector.runtime.reason
        assert detector.runtime.name != "tensorrt"


def test_verify_shows_the_figures_of_the_engines(path, bundle, tensorrt_double, capsys):
    build_engines(bundle)
    assert main(["verify", str(path), "--runtime", "tensorrt", "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["runtime"] == "tensorrt (named)"
    assert result["own_max_diff"] <= 1e-6


def test_an_engine_that_lies_is_refused_when_it_is_loaded(path, bundle, tensorrt_double):
    """Everything about it fits, but on this device it computes something else."""
    build_engines(bundle)
    tensorrt_double.fail("wrong_numbers", times=None, change=lambda _, values: values * 0.9)
    with pytest.raises(InferenceError, match="does not say on this machine what it said when it was converted"):
        Detector(path, faces="whole", runtime="tensorrt")


def test_members_of_an_ensemble_each_take_what_they_can(path, bundle, tensorrt_double, tmp_path):
    build_engines(bundle)
    write_bundle(bright_means_fake(frames=2, sample_fps=10.0, name="other"), tmp_path / "other.dfe")
    with Detector([path, tmp_path / "other.dfe"], faces="whole") as detector:
        first, second = (member.runtime.name for member in detector.members)
        assert first == "tensorrt"
        assert second != "tensorrt"
        assert detector.runtime.name == f"tensorrt + {second}"
        assert "bright: auto: this device's engines are in the cache; other: auto: " in detector.runtime.reason


def test_what_tensorrt_computes_is_what_was_built(bundle, path, tensorrt_double):
    both = replace(bundle, variants={**bundle.variants, "fp16": bundle.variants["fp32"]})
    assert precisions_of("tensorrt", both) == ()
    assert precisions_of("tensorrt") == ()
    build_engines(both)
    assert precisions_of("tensorrt", both) == ("fp32",)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"name": "onnxruntime", "crops": "cuda"}, "cuda goes with --runtime tensorrt alone"),
        ({"crops": "cuda"}, "cuda goes with --runtime tensorrt alone"),
        ({"crops": "gpu"}, "wanted one of cpu, cuda, got 'gpu'"),
        ({"device": -1}, "wanted a GPU's number"),
        ({"device": True}, "wanted a GPU's number"),
        ({"name": "tensorrt", "precision": "bf16"}, "bf16 is computed by openvino alone"),
    ],
)
def test_what_does_not_go_together_is_refused(options, match):
    with pytest.raises(InvalidInput, match=match):
        RuntimeOptions(**options)


def test_tensorrt_needs_to_know_whose_networks():
    with pytest.raises(InvalidInput, match="deepfake-edge build BUNDLE"):
        choose_runtime(RuntimeOptions("tensorrt"))


def test_verify_replays_what_is_built(path, bundle, tensorrt_double, capsys):
    write_bundle(replace(bundle, variants={**bundle.variants, "fp16": bundle.variants["fp32"]}), path)
    assert main(["verify", str(path), "--runtime", "tensorrt"]) == 1
    assert "EngineMismatch: bright backbone: no engine was built" in capsys.readouterr().err
    build_engines(bundle)
    assert main(["verify", str(path), "--runtime", "tensorrt", "--json"]) == 0
    assert [item["precision"] for item in json.loads(capsys.readouterr().out)["results"]] == ["fp32"]


def test_auto_opens_no_gpu_for_a_bundle_that_was_never_built(path, tensorrt_double, cuda_double):
    before = len(cuda_double.calls)
    with Detector(path, faces="whole"):
        assert cuda_double.calls[before:] == []


def test_another_power_mode_makes_the_engines_unfit(path, bundle, tensorrt_double, cuda_double):
    build_engines(bundle)
    cuda_double.facts(multiprocessors=4)
    assert "8 multiprocessors), this is" in why_no_engines(bundle, None)
