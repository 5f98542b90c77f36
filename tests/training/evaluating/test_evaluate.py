"""`deepfake-edge evaluate`, from models and clips to tables and a report."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from deepfake_edge.bundle import read_bundle, write_bundle
from deepfake_edge.cli import main
from deepfake_edge.training.evaluating.answers import records_sha256
from deepfake_edge.training.evaluating.bootstrap import Resampling
from deepfake_edge.training.evaluating.comparing import compare
from deepfake_edge.training.evaluating.metrics import METRICS
from deepfake_edge.training.evaluating.summary import groups, judged_of, summarise
from deepfake_edge.training.preparing.settings import Settings
from deepfake_edge.training.preparing.store import start, write_clip
from fakes import bright_means_fake
from training.evaluating.made import made_clip, made_score

_PICTURES = ("roc.png", "precision_recall.png", "reliability.png", "confusion.png")


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["-q", "evaluate", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def mixed():
    """Two data sets; one has two manipulations, one names none."""
    scores = [made_score(f"a{number}", "real", number / 20, (number / 20,) * 2, "one") for number in range(10)]
    scores += [made_score(f"b{number}", "fake", 0.3 + number / 5, (0.3,), "one", "swap") for number in range(4)]
    scores += [made_score(f"c{number}", "fake", 0.9, (0.9,), "one", "paint") for number in range(2)]
    scores += [made_score(f"d{number}", "real", 0.1, (0.1,), "two") for number in range(5)]
    return [*scores, made_score("e0", "fake", 0.2, (0.2,), "two"), made_score("e1", "fake", None, (), "two")]


def test_groups_are_data_sets_and_manipulations_with_the_real_clips_of_their_set(mixed):
    found = {group.title: group for group in groups(mixed)}
    assert list(found) == ["all", "one", "one paint", "one swap", "two"]
    assert {score.id[0] for score in found["one swap"].scores} == {"a", "b"}
    assert len(found["one"].scores) == 16


def test_figures_are_of_videos_and_of_windows(mixed):
    videos, windows, *others = summarise(mixed, 0.5, Resampling())
    assert (videos.unit, videos.real, videos.fake) == ("videos", 15, 7)
    assert (windows.unit, windows.real, windows.fake) == ("windows", 25, 7)
    truth = [score.label == "fake" for score in mixed if score.fake_score is not None]
    values = [score.fake_score for score in mixed if score.fake_score is not None]
    assert videos.figures["auc"].value == pytest.approx(roc_auc_score(truth, values))
    silent = [*mixed, made_score("f0", "real", None, (0.9, 0.9), "two")]
    assert [len(judged_of(silent, unit)[1]) for unit in ("videos", "windows")] == [22, 32]
    assert others[1].group.title == "one paint"
    assert others[1].figures["auc"].value == 1.0
    assert others[-1].figures["auc"].reason == "no interval: fewer than 5 fake videos"


def test_flips_are_labels_that_differ_at_each_models_own_threshold(mixed):
    found = compare(mixed, mixed, (0.5, 0.5))
    assert (found.flips, found.max_difference, found.lost, found.videos) == (0, 0.0, 0, 22)
    assert compare(mixed, mixed, (0.5, 0.85)).flips == sum(0.5 <= (score.fake_score or 0) < 0.85 for score in mixed)
    silent = [made_score(score.id, score.label, None) for score in mixed]
    lost = compare(mixed, silent, (0.5, 0.5))
    assert (lost.videos, lost.lost, lost.max_difference, lost.windows_max_difference) == (0, 22, None, None)


def test_a_report_has_every_figure_and_every_score(capsys, prepared, bundles, tmp_path):
    folder = tmp_path / "report"
    files = [bundles / "frame.dfe", bundles / "clip.dfe"]
    code, out, err = run(
        capsys, *files, "--data", prepared.folder, "--stress", "-o", folder, "--runtime", "onnxruntime"
    )
    assert (code, err) == (0, "")
    assert out.startswith("Videos: 2 real, 2 fake\n")
    found = json.loads((folder / "report.json").read_text())
    assert found["data"]["split"] == "test"
    assert found["data"]["sha256"] == records_sha256(prepared, "test") != records_sha256(prepared, "val")
    assert found["data"]["face_pictures"] == asdict(prepared.settings)
    titles = ["frame.dfe fp32", "clip.dfe fp32", "clip.dfe int8"]
    assert [model["title"] for model in found["models"]] == titles
    assert found["models"][0]["sha256"] == read_bundle(files[0]).sha256
    for model in found["models"]:
        assert [summary["unit"] for summary in model["summaries"]] == ["videos", "windows", "videos"]
        assert set(model["summaries"][0]["figures"]) == set(METRICS)
        assert [score["clip"] for score in model["scores"]] == [clip.id for clip in prepared.of("test")]
        assert [row["condition"] for row in model["stress"]][:2] == ["clean", "H.264 crf 23"]
    assert [(each["model"], each["from"]) for each in found["differences"]] == [
        (title, titles[0]) for title in titles[1:]
    ]
    for name in (*_PICTURES, "stress.png"):
        picture = cv2.imread(str(folder / name))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 10, name
    text = (folder / "report.md").read_text()
    assert "## Stress: clip.dfe int8" in text
    assert f"`{files[0]}`, fp32 on onnxruntime" in text


def test_json_goes_to_stdout_alone(capsys, prepared, bundles):
    code, out, err = run(capsys, bundles / "clip.dfe", "--data", prepared.folder, "--precision", "fp32", "--json", "-")
    found = json.loads(out)
    assert (code, err, len(found["models"])) == (0, "", 1)
    none = found["models"][0]["summaries"][0]["figures"]["auc"]
    assert none["low"] is None
    assert none["reason"] == "no interval: fewer than 5 real and fake videos"


def test_calibration_writes_the_bundle_and_says_what_it_did(capsys, tmp_path):
    levels = {"real": (40, 60, 80, 190), "fake": (90, 180, 200, 220)}
    folder, model, output = tmp_path / "grey", tmp_path / "clip.dfe", tmp_path / "out.dfe"
    _prepare_grey(folder, levels)
    write_bundle(bright_means_fake(frames=4, sample_fps=12.0, name="clip"), model)
    before = model.read_bytes()
    options = ("--data", folder, "--split", "val", "--calibrate")
    code, out, _ = run(capsys, model, *options, "--write", output, "--json", "-")
    assert code == 0
    found = json.loads(out)["calibration"]
    assert (found["file"], found["fitted_on"], found["videos"]) == (str(output), "grey, split val", 8)
    assert model.read_bytes() == before
    calibrated = read_bundle(output)
    assert (calibrated.sha256, calibrated.spec.temperature) == (found["sha256"], found["temperature"]["value"])
    # score = sigmoid(4 * (level - 127.5) / 127.5): the likeliest T solves a line of one unknown.
    logits = [
        4 * (level - 127.5) / 127.5 * (1 if label == "fake" else -1) for label in levels for level in levels[label]
    ]
    losses = {value: sum(np.log1p(np.exp(-logit / value)) for logit in logits) for value in np.arange(0.3, 5, 0.01)}
    assert found["temperature"]["value"] == pytest.approx(min(losses, key=losses.__getitem__), abs=0.02)
    assert found["after"]["videos_nll"] == pytest.approx(min(losses.values()) / 8, rel=1e-3)
    code, out, _ = run(capsys, model, *options, "-o", tmp_path / "report")
    assert code == 0
    assert f"wrote {model}" in out
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"## Temperature {found['temperature']['value']:.3f}, fitted on 8 videos of grey, split val\n" in text
    before, after = (found[when]["videos_nll"] for when in ("before", "after"))
    assert f"| videos nll | {before:.4f} | {after:.4f} |" in text
    assert "- clip.dfe fp32: temperature: no interval: fewer than 5 real and fake videos" in text
    assert read_bundle(model).spec == calibrated.spec


def _prepare_grey(folder: Path, levels: dict[str, tuple[int, ...]]) -> None:
    start(folder, Settings(6, "consecutive", 12.0, None, "whole", 64))
    for label, chosen in levels.items():
        for level in chosen:
            times_s = [place / 12 for place in range(6)]
            clip = made_clip(f"{label}-{level}", label, times_s, split="val", among=folder / "clips")
            write_clip(clip, [np.full((8, 8, 3), level, np.uint8)] * 6)


@pytest.mark.parametrize(("arguments", "said"), [
    (("frame.dfe", "--data", "absent"), "is no prepared folder"),
    (("absent.dfe", "--data", "PREPARED"), "cannot be read"),
    (("frame.dfe", "frame.dfe", "--data", "PREPARED"), "frame.dfe is named twice"),
    (("frame.dfe", "--data", "PREPARED", "--precision", "int8"), "this bundle has fp32"),
    (("frame.dfe", "--data", "PREPARED", "--resamples", "10"), "wanted at least 1000"),
    (("frame.dfe", "--data", "PREPARED", "--write", "x.dfe"), "go with --calibrate alone"),
    (("frame.dfe", "clip.dfe", "--data", "PREPARED", "--calibrate"), "wanted one bundle"),
    (("frame.dfe", "--data", "PREPARED", "--calibrate", "--split", "train"), "not fitted on the split train"),
    (("frame.dfe", "--videos", "PREPARED", "--stress"), "go with --data alone"),
    (("frame.dfe", "--data", "PREPARED", "--split", "all"), "go with --videos alone"),
    (("frame.dfe", "--data", "PREPARED", "--kind", "plain"), "go with --videos alone"),
    (("frame.dfe", "--videos", "PREPARED", "--splits", "drawn"), "name a --split"),
    (("frame.dfe", "--videos", "PREPARED", "--compression", "c40"), "no known layout"),
    (("model.keras", "--videos", "PREPARED"), "takes bundles (.dfe) alone"),
    (("garbage.keras", "--data", "PREPARED"), "garbage.keras"),
    (("frame.dfe", "--data", "PREPARED", "-o", "."), "is not empty and holds no report.json"),
    # The places are looked at before the models: there is none.
    (("absent.dfe", "--data", "PREPARED", "-o", "frame.dfe"), "frame.dfe: is a file, wanted a folder"),
    (("absent.dfe", "--data", "PREPARED", "-o", "frame.dfe/report"), "frame.dfe: is a file, wanted a folder"),
    (("absent.dfe", "--data", "PREPARED", "--json", "absent/a.json"), "absent: there is no such folder"),
    (("absent.dfe", "--data", "PREPARED", "--json", "."), "wanted a file to write, it is a folder"),
    (("absent.dfe", "--data", "PREPARED", "--calibrate", "--write", "absent/b.dfe"), "absent: there is no such folder"),
    (("ensemble.json", "--data", "PREPARED"), "name its bundles"),
    (("ensemble.json", "--videos", "PREPARED"), "name its bundles"),
])  # fmt: skip
def test_what_cannot_be_evaluated_is_said_in_one_line(capsys, prepared, bundles, monkeypatch, arguments, said):
    monkeypatch.chdir(bundles)
    Path("garbage.keras").write_bytes(b"garbage")
    code, out, err = run(capsys, *(prepared.folder if word == "PREPARED" else word for word in arguments))
    assert (code, out) == (1, "")
    assert said in err
    assert "Traceback" not in err


def test_raw_videos_go_through_the_detector(capsys, bundles, tmp_path):
    for label, level in (("real", 20), ("fake", 230)):
        (tmp_path / "videos" / "test" / label).mkdir(parents=True)
        _write_clip(tmp_path / "videos" / "test" / label / f"{label}.mp4", level)
    (tmp_path / "videos" / "test" / "real" / "damaged.mp4").write_bytes(b"no video")
    bundle = replace(read_bundle(bundles / "clip.dfe"), provenance={"source_sha256": "ab"})
    write_bundle(bundle, tmp_path / "clip.dfe")
    options = ("--faces", "whole", "--runtime", "onnxruntime", "--json", "-")
    code, out, _ = run(capsys, tmp_path / "clip.dfe", "--videos", tmp_path / "videos", *options)
    assert code == 0
    found = json.loads(out)
    assert (found["data"]["name"], found["data"]["people"], found["data"]["left_out"]) == ("videos", None, [])
    (model,) = found["models"]
    assert model["source_sha256"] == "ab"
    assert [(score["clip"], score["label"]) for score in model["scores"]] == [
        ("test/fake/fake.mp4", "fake"), ("test/real/damaged.mp4", "real"), ("test/real/real.mp4", "real"),
    ]  # fmt: skip
    assert model["summaries"][0]["figures"]["auc"]["value"] == 1.0
    (silent,) = model["no_verdict"]
    assert silent["clip"] == "test/real/damaged.mp4"
    assert silent["reason"]
    assert str(tmp_path) not in silent["reason"]
    code, out, _ = run(capsys, tmp_path / "clip.dfe", "--videos", tmp_path / "videos", *options[:-2])
    assert "1 real of 3 clips have no verdict" in out


def test_clips_that_were_left_out_are_counted_with_their_reason(capsys, prepared, bundles, tmp_path):
    folder = shutil.copytree(prepared.folder, tmp_path / "prepared")
    reasons = ("no face was found", "no face was found", "is empty")
    others = [(clip, "of another split") for clip in prepared.of("val")]
    for clip, reason in (*zip(prepared.of("test"), reasons, strict=False), *others):
        record = folder / "clips" / clip.id / "clip.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"left_out": reason, "pictures": []}))
    options = ("--data", folder, "--runtime", "onnxruntime", "-o", tmp_path / "report")
    code, out, _ = run(capsys, bundles / "frame.dfe", *options)
    assert code == 0
    told = "3 clips of the split were left out when they were prepared (1 real: is empty, 2 fake: no face was found)"
    assert f"note: {told}\n" in out
    assert f"- {told}\n" in (tmp_path / "report" / "report.md").read_text()
    data = json.loads((tmp_path / "report" / "report.json").read_text())["data"]
    assert [each["label"] for each in data["left_out"]] == ["fake", "fake", "real"]
    assert (data["name"], data["people"]) == ("prepared", 1)


def _write_clip(path: Path, level: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 12.0, (64, 48))
    for _ in range(12):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()


def test_nothing_in_a_report_is_nan(capsys, prepared, bundles):
    _, out, _ = run(capsys, bundles / "frame.dfe", "--data", prepared.folder, "--json", "-")

    def look(value):
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(item)
        assert not isinstance(value, float) or math.isfinite(value)

    look(json.loads(out))
