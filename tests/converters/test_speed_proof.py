"""The speed proof against Keras and the machine's matrix peak: the arithmetic, and one small run of the whole."""

from __future__ import annotations

import json

import pytest

from deepfake_edge.benchmarks import against_keras
from deepfake_edge.benchmarks.figures import Calls, Row
from deepfake_edge.benchmarks.latency import Options
from deepfake_edge.benchmarks.machine_peak import Peak
from deepfake_edge.benchmarks.measured_product import product
from deepfake_edge.bundle import read_bundle, write_bundle
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.errors import InvalidInput
from deepfake_edge.runtime_choice import precisions_of
from fakes import bright_means_fake

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.mark.parametrize(
    ("library", "precision", "operator"),
    [("numpy", "fp32", "MatMul"), ("onnxruntime", "fp32", "MatMul"), ("onnxruntime", "int8", "MatMulInteger")],
)
def test_a_product_counts_two_operations_for_a_multiply_add(library, precision, operator):
    found = product(library, precision, operator, seconds=0.0)
    depth = 4 if (library, precision) == ("onnxruntime", "fp32") else 1
    assert found["operations"] == depth * 2 * 2048**3
    assert min(found["times_ms"]) > 0


@pytest.mark.skipif(not precisions_of("openvino"), reason="OpenVINO is not installed")
@pytest.mark.parametrize("operator", ["MatMul", "Conv"])
def test_openvino_takes_the_quantised_products(operator):
    found = product("openvino", "int8", operator, seconds=0.0)
    assert found["operations"] / min(found["times_ms"]) > 1e6, "at least 10^9 operations a second"


def test_lines_are_frames_against_keras_best_and_shares_of_the_peak():
    calls = tuple(Calls(batch, ((time,),) * 3) for batch, time in ((1, 10.0), (10, 80.0)))
    row = Row("openvino", "int8", calls=calls)
    peaks = {"int8": Peak("int8", 4e12, "openvino Conv")}
    first, second = against_keras.lines_of(row, bright_means_fake(), keras_ms=40.0, work=10**10, peaks=peaks)
    assert (first.batch, first.frame_ms, first.ratio) == (1, 10.0, 4.0)
    assert (second.batch, second.frame_ms, second.ratio) == (10, 8.0, 5.0)
    assert first.operations_per_s == pytest.approx(2e12)
    assert first.share == pytest.approx(0.5)


def test_a_fused_clip_network_is_counted_by_the_frame():
    row = Row("onnxruntime", "fp32", calls=(Calls(2, ((80.0,),)),))
    bundle = bright_means_fake(frames=4, sample_fps=25.0, fused=True)
    (line,) = against_keras.lines_of(row, bundle, keras_ms=40.0, work=1, peaks={})
    assert (line.frame_ms, line.ratio, line.share) == (10.0, 4.0, None)


def test_another_models_bundle_is_refused(tmp_path):
    write_bundle(bright_means_fake(), tmp_path / "other.dfe")
    (tmp_path / "model.keras").write_bytes(b"not what it was made of")
    for name, said in (("model.keras", "was not made of"), ("absent.keras", "cannot be read")):
        with pytest.raises(InvalidInput, match=said):
            against_keras.prove(tmp_path / name, tmp_path / "other.dfe", Options())


@pytest.mark.slow
def test_a_small_model_against_keras(saved, tiny, tmp_path, capsys):
    convert(saved, tmp_path / "model.dfe", ConvertOptions(overrides=tiny.overrides))
    assert against_keras.main([str(saved), str(tmp_path / "model.dfe"), "--seconds", "0.3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    bundle = read_bundle(tmp_path / "model.dfe")
    assert 0 < found["keras_min_ms"] <= min(found["keras_median_ms"])
    assert len(found["keras_median_ms"]) == 3
    assert found["multiply_adds"] == against_keras.work_of(bundle) > 0
    assert {line["precision"] for line in found["lines"]} <= {*precisions_of("openvino"), "fp32"}
    for line in found["lines"]:
        assert line["ratio"] == pytest.approx(found["keras_min_ms"] / line["frame_ms"])
        assert 0 < line["share"] < 1.5
    assert found["failed"] == {}
    assert set(found["peaks"]) == {*precisions_of("openvino"), *precisions_of("onnxruntime")} - {"fp16"}
