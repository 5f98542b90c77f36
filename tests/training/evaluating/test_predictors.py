"""A Keras file and the bundle that was made of it say the same through the same code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deepfake_edge.cli import main
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training import workshop
from deepfake_edge.training.evaluating.keras_predictor import load_keras
from deepfake_edge.training.families import FAMILIES
from deepfake_edge.training.untrained import seed_weights


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A small clip model in a file of its own."""
    workshop.keras()
    path = tmp_path_factory.mktemp("keras") / "model.keras"
    family = FAMILIES["cnn-lstm"]
    built = family.build(frames=4, size_px=32, units=4)
    spec = family.spec
    seed_weights(built, replace(spec, crop=replace(spec.crop, size_px=32), clip=replace(spec.clip, frames=4)))
    with workshop.quiet():
        built.save(path)
    return path


def evaluated(capsys, *arguments: object) -> dict:
    code = main(["-q", "evaluate", *(str(argument) for argument in arguments), "--json", "-"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_keras_file_and_its_bundle_agree(capsys, model, prepared, tmp_path):
    bundle = tmp_path / "model.dfe"
    convert(model, bundle, ConvertOptions(overrides={"sample_fps": "12"}))
    options = ("--data", prepared.folder, "--spec", "sample_fps=12", "--runtime", "onnxruntime")
    found = evaluated(capsys, model, bundle, *options)
    assert [item["title"] for item in found["models"]] == ["model.keras", "model.dfe fp32"]
    assert found["models"][0]["spec"] == found["models"][1]["spec"]
    (difference,) = found["differences"]
    assert difference["videos"] == 4
    assert difference["windows_max_difference"] < 1e-4
    assert difference["flips"] == 0
    scores = [score for item in found["models"][0]["scores"] for score in item["windows"]]
    assert max(scores) - min(scores) > 1e-3


def test_a_model_in_its_runs_folder_is_what_the_run_says(model, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    path = run / "best.keras"
    path.write_bytes(model.read_bytes())
    plain = load_keras(path, None, {})
    assert plain.spec.clip.sample_fps == 30.0
    spec = plain.spec.to_json()
    (run / "config.json").write_text(json.dumps({"spec": {**spec, "clip": {**spec["clip"], "sample_fps": 8.0}}}))
    assert load_keras(path, None, {}).spec.clip.sample_fps == 8.0
    changed = load_keras(path, None, {"threshold": "0.4"}).spec
    assert (changed.threshold, changed.clip.sample_fps) == (0.4, 8.0)
    (run / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"does not say what best\.keras expects"):
        load_keras(path, None, {})


def test_a_per_frame_model_scores_single_crops(capsys, prepared, tmp_path):
    path = tmp_path / "meso4.keras"
    with workshop.quiet():
        FAMILIES["meso4"].build(size_px=32).save(path)
    found = evaluated(capsys, path, "--data", prepared.folder)
    seen = sum(sum(clip.seen) for clip in prepared.of("test"))
    assert sum(len(item["windows"]) for item in found["models"][0]["scores"]) == seen


@pytest.mark.slow
def test_int8_stands_beside_fp32(capsys, model, prepared, tmp_path, clip_path):
    bundle = tmp_path / "model.dfe"
    options = ConvertOptions(
        overrides={"sample_fps": "12"}, precisions=("fp32", "fp16", "int8"), calibration=clip_path,
        gates={"int8.mean": "1", "int8.flips": "1", "int8.max": "1"},
    )  # fmt: skip
    convert(model, bundle, options)
    found = evaluated(capsys, bundle, "--data", prepared.folder, "--runtime", "onnxruntime")
    assert [item["title"] for item in found["models"]] == ["model.dfe fp32", "model.dfe fp16", "model.dfe int8"]
    for difference in found["differences"]:
        assert 0 < difference["max_difference"] < 0.2
