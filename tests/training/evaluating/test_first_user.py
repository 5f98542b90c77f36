"""What a first user of `evaluate` met: pictures, other models' windows, other names, the folder of an older report."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge.cli import main
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.evaluating.bootstrap import Resampling
from deepfake_edge.training.evaluating.judging import Answer, cut_windows, judge
from training.evaluating.made import FRAME_SPEC, made_clip


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["-q", "evaluate", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def _judged(source):
    spec = replace(FRAME_SPEC, clip=ClipSpec(1))
    clip = made_clip(times_s=(0.0,), source=source)
    windows = cut_windows(clip, np.arange(1), spec.clip, "evenly")
    return judge(Answer(clip, np.arange(1), windows, np.asarray([[0.9]], np.float32)), spec)


def test_a_picture_has_a_verdict_as_in_detect_and_a_video_of_one_frame_has_none():
    assert _judged("real/anna.JPG").fake_score == pytest.approx(0.9)
    assert _judged("real/anna.mp4").fake_score is None


def test_counts_are_those_of_each_model(capsys, prepared, bundles):
    options = ("--data", prepared.folder, "--runtime", "onnxruntime", "--precision", "fp32")
    code, out, _ = run(capsys, bundles / "frame.dfe", bundles / "clip.dfe", *options, "--json", "-")
    windows = [model["summaries"][1] for model in json.loads(out)["models"]]
    assert code == 0
    assert windows[0]["real"] > windows[1]["real"]
    _, out, _ = run(capsys, bundles / "frame.dfe", bundles / "clip.dfe", *options)
    real, fake = (" / ".join(str(each[label]) for each in windows) for label in ("real", "fake"))
    assert f"\nWindows: {real} real, {fake} fake\n" in out
    assert out.startswith("Videos: 2 real, 2 fake\n")


def test_a_report_without_stress_leaves_no_older_picture_of_it(capsys, prepared, bundles, tmp_path):
    options = ("--data", prepared.folder, "--runtime", "onnxruntime", "-o", tmp_path / "report")
    run(capsys, bundles / "frame.dfe", *options)
    stale = tmp_path / "report" / "stress.png"
    stale.write_bytes(b"of an older report")
    run(capsys, bundles / "frame.dfe", *options)
    assert not stale.exists()


def test_a_name_that_is_no_utf8_or_has_several_lines_is_written(capsys, prepared, bundles, tmp_path):
    folder = tmp_path / os.fsdecode(b"a\xff\nb")
    shutil.copytree(prepared.folder, folder)
    code, _, err = run(capsys, bundles / "frame.dfe", "--data", folder, "-o", tmp_path / "report")
    assert (code, err) == (0, "")
    assert "a? b\n" in (tmp_path / "report" / "report.md").read_text()


def test_models_of_one_name_are_refused_on_raw_videos_too(capsys, bundles, tmp_path):
    shutil.copy(bundles / "frame.dfe", tmp_path / "frame.dfe")
    code, out, err = run(capsys, bundles / "frame.dfe", tmp_path / "frame.dfe", "--videos", tmp_path)
    assert (code, out) == (1, "")
    assert "frame.dfe is named twice" in err


def test_a_seed_below_zero_is_refused():
    with pytest.raises(InvalidInput, match="seed: wanted at least 0, got -1"):
        Resampling(seed=-1)


def test_a_temperature_is_fitted_on_val_unless_another_split_is_named(capsys, prepared, bundles, tmp_path):
    folder = shutil.copytree(prepared.folder, tmp_path / "prepared")
    for clip in prepared.of("val"):
        shutil.rmtree(folder / "clips" / clip.id)
    options = ("--data", folder, "--runtime", "onnxruntime")
    code, _, err = run(capsys, bundles / "frame.dfe", *options, "--calibrate")
    assert code == 1
    assert "has no clips of the split val" in err
    code, out, _ = run(capsys, bundles / "frame.dfe", *options, "--json", "-")
    assert (code, json.loads(out)["data"]["split"]) == (0, "test")
