"""What a first user of `evaluate` met: pictures, other models' windows, other names, the folder of an older report."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.cli import main
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.datasets.reading import ReadOptions
from deepfake_edge.training.evaluating.bootstrap import Resampling
from deepfake_edge.training.evaluating.judging import Answer, cut_windows, judge
from deepfake_edge.training.evaluating.loading import titles_of
from deepfake_edge.training.evaluating.predictors import Identity
from deepfake_edge.training.evaluating.report import Evaluated, make_report
from deepfake_edge.training.evaluating.stress import Condition
from deepfake_edge.training.evaluating.tables import notes
from deepfake_edge.training.evaluating.videos import read_videos
from training.evaluating.made import FRAME_SPEC, made_clip, made_score


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


def test_models_of_one_name_have_their_folders_in_their_titles(capsys, prepared, bundles, tmp_path):
    files = []
    for name in ("run1", "run2"):
        (tmp_path / name).mkdir()
        files.append(shutil.copy(bundles / "frame.dfe", tmp_path / name))
    options = ("--data", prepared.folder, "--runtime", "onnxruntime", "--precision", "fp32", "--json", "-")
    code, out, _ = run(capsys, *files, bundles / "clip.dfe", *options)
    assert code == 0
    titles = [model["title"] for model in json.loads(out)["models"]]
    assert titles == ["run1/frame.dfe fp32", "run2/frame.dfe fp32", "clip.dfe fp32"]


def test_titles_take_the_folders_that_tell_files_apart():
    files = [Path(name) for name in ("a/run/best.keras", "b/run/best.keras", "c/best.keras", "other.keras")]
    assert titles_of(files) == ["a/run/best.keras", "b/run/best.keras", "c/best.keras", "other.keras"]
    with pytest.raises(InvalidInput, match="named twice"):
        titles_of([Path("run/best.keras"), Path("run/../run/best.keras")])


def test_all_clips_of_a_plain_folder_are_evaluated_unless_a_split_is_named(tmp_path):
    for name in [f"{label}/{number}.mp4" for label in ("real", "fake") for number in range(10)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    everything = read_videos(tmp_path, "all", ReadOptions())
    assert len(everything.entries) == 20
    assert not any("drawn" in note for note in everything.notes)
    assert 0 < len(read_videos(tmp_path, "train", ReadOptions()).entries) < 20


def test_all_clips_of_a_data_set_need_no_published_list(capsys, bundles, tmp_path):
    for compression in ("c23", "c40"):
        folder = tmp_path / "original_sequences" / "youtube" / compression / "videos"
        folder.mkdir(parents=True)
        (folder / "000.mp4").write_bytes(b"no video")
    options = ("--videos", tmp_path, "--runtime", "onnxruntime", "--json", "-")
    code, _, err = run(capsys, bundles / "frame.dfe", *options)
    assert code == 1
    assert "--compression c40" in err
    code, out, err = run(capsys, bundles / "frame.dfe", *options, "--compression", "c40", "--faces", "whole")
    assert (code, "--splits" in err) == (0, False)
    found = json.loads(out)
    assert (found["data"]["split"], found["models"][0]["clips"]) == ("all clips", 1)


def test_a_stress_table_counts_its_videos_and_says_where_they_are_few():
    few = tuple(made_score(f"{label}{number}", label, 0.5) for label in ("real", "fake") for number in range(5))
    silent = (made_score("real0", "real", None), *few[1:])
    model = Evaluated(Identity("made", "made.dfe", "0", "fp32", "none"), FRAME_SPEC, few, {"dark": silent, "blur": few})
    conditions = [Condition("dark", ""), Condition("blur", "")]
    report = make_report({"left_out": []}, [model], conditions, Resampling())
    rows = {row.condition.name: (row.real, row.fake) for row in report.stress["made"]}
    assert rows == {"clean": (5, 5), "dark": (4, 5), "blur": (5, 5)}
    told = [note for note in notes(report) if "stress" in note]
    assert len(told) == 1
    assert "fewer than 5 real videos" in told[0]
    assert told[0].endswith("(dark)")


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
