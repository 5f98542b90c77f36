"""A card says what its files say, and what was not measured."""

from __future__ import annotations

import hashlib
import json

import pytest

from deepfake_edge.cli import main
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.card import make_card, read_about

ABOUT = {
    "title": "A model",
    "notice": "For tests.",
    "data": [{"name": "Some clips", "clips": "1 to 4", "licence": "CC BY 4.0", "credit": "Their makers"}],
    "limits": ["It knows four people."],
}
CONFIG = {
    "data_sha256": "ab" * 32,
    "clips": {"train": {"real": 4, "fake": 0}, "val": {"real": 2, "fake": 6}},
    "seed": 7,
    "spec": {
        "crop": {"size_px": 64, "margin": 1.3},
        "clip": {"frames": 8, "sample_fps": 12.0},
        "classes": ["real", "fake"],
        "activation": "softmax",
        "threshold": 0.5,
    },
    "options": {
        "family": "mobile-gru:units=8",
        "stages": [{"kind": "frames", "epochs": 3, "rate": None}, {"kind": "head", "epochs": 2, "rate": 1e-4}],
        "feed": {"self_blended": 1.0, "batch": 4, "augment": {"strength": 1.5, "flip": 0.5, "turn": 0.0, "jpeg": 0.25}},
        "rate": 0.001,
        "schedule": "cosine",
        "smoothing": 0.05,
        "average": 0.99,
        "watch": "loss",
    },
}
DONE = {"best": {"epoch": 5, "val_loss": 0.25, "val_auc": 0.875}, "epochs": 5, "spent_s": 120.0}


def figure(value, low=None, high=None, reason=None):
    return {"value": value, "low": low, "high": high, "reason": reason}


STRESS = [
    {
        "condition": "clean", "words": "as prepared", "auc": figure(0.75, 0.5, 0.875), "auc_change": None,
        "flips": 0, "videos": 9, "lost": 0,
    },
    {
        "condition": "noise", "words": "ten levels", "auc": figure(0.5, 0.25, 0.75),
        "auc_change": figure(-0.25, -0.375, 0.125), "flips": 2, "videos": 8, "lost": 1,
    },
]  # fmt: skip
CALIBRATION = {
    "temperature": figure(1.5, 0.5, 2.5), "fitted_on": "held, split val", "model": "best.keras",
    "videos": 9, "sha256": "ef" * 32,
    "before": {"videos_nll": 0.75, "videos_ece": 0.25}, "after": {"videos_nll": 0.5, "videos_ece": 0.125},
}  # fmt: skip


def summary(unit, auc, manipulation=None):
    names = ("accuracy", "precision", "recall", "f1", "auc", "eer", "average_precision", "ece")
    figures = {name: figure(0.5, 0.25, 0.75) for name in names} | {"auc": auc}
    return {
        "dataset": manipulation and "held",
        "manipulation": manipulation,
        "unit": unit,
        "real": 6,
        "fake": 3,
        "confusion": {"true_real": 4.0, "false_fake": 2.0, "false_real": 1.0, "true_fake": 2.0},
        "figures": figures,
    }


def report(stress=(), **changes):
    few = figure(0.9, reason="no interval: fewer than 5 fake videos")
    none = figure(None, reason="there are only fake clips")
    return {
        "format": 2,
        "data": {"name": "held", "split": "test", "people": None, "left_out": []},
        "calibration": None,
        "models": [
            {
                "title": "best.keras",
                "precision": "fp32",
                "runtime": "keras",
                "sha256": "cd" * 32,
                "source_sha256": hashlib.sha256(b"a model").hexdigest(),
                "spec": {"threshold": 0.5, "temperature": 1.0},
                "clips": 9,
                "no_verdict": [],
                "summaries": [summary("videos", few), summary("windows", few), summary("videos", none, "swap")],
                "stress": list(stress),
            }
        ],
        **changes,
    }


@pytest.fixture
def files(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "best.keras").write_bytes(b"a model")
    paths = {"about": ABOUT, "run/config": CONFIG, "run/done": DONE, "report": report()}
    for name, value in paths.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    return tmp_path


def card(files, *reports):
    return make_card(read_about(files / "about.json"), files / "run", [files / name for name in reports])


def test_every_figure_stands_with_its_data_its_split_and_its_interval(files):
    text = card(files, "report.json")
    assert text.startswith("# A model\n\n**For tests.**\n")
    assert "| Some clips | 1 to 4 | CC BY 4.0 | Their makers |" in text
    assert f"sha256 {'ab' * 32}" in text
    assert "frames 3, head 2 at rate 0.0001; 5 epochs in 2 minutes" in text
    assert "batch 4, seed 7; the weights' moving average, momentum 0.99" in text
    assert "- Augmentation, share of windows: flip 0.5, jpeg 0.25; strength 1.5" in text
    assert "Best epoch by validation loss: 5 (loss 0.2500 over windows, AUC 0.8750 over clips: the real" in text
    assert "fake clips had no part in it" in text
    assert "## Figures: held, test" in text
    assert "| real, fake | 6, 3 | 6, 3 |" in text
    assert "| accuracy | 0.500 (0.250 to 0.750) | 0.500 (0.250 to 0.750) |" in text
    assert "| AUC | 0.900 | 0.900 |" in text
    assert "- no interval: fewer than 5 fake videos (all videos, all windows)" in text
    assert "| real called fake | 2 of 6 | 2 of 6 |" in text
    assert "| fake called real | 1 of 3 | 1 of 3 |" in text
    assert "- Clips: 9; the data set does not say of how many people" in text
    assert "| held swap | 6, 3 | not measured |" in text
    assert "- no AUC: there are only fake clips (held swap videos)" in text
    assert "- It knows four people." in text
    assert "**Not measured**: robustness" in text


def test_an_epoch_that_was_taken_as_it_is_is_not_called_the_best(files):
    config = {**CONFIG, "options": {**CONFIG["options"], "watch": "last"}}
    (files / "run" / "config.json").write_text(json.dumps(config))
    text = card(files)
    assert "- Last epoch, taken as it is: 5 (loss 0.2500 over windows, AUC 0.8750 over clips: the real" in text
    assert "too good" not in text


def test_a_stress_test_is_measured(files):
    (files / "report.json").write_text(json.dumps(report(STRESS)))
    text = card(files, "report.json")
    assert "| clean: as prepared | 0.750 (0.500 to 0.875) |  | 0 of 9 | 0 |" in text
    assert "| noise: ten levels | 0.500 (0.250 to 0.750) | -0.250 (-0.375 to +0.125) | 2 of 8 | 1 |" in text
    assert "**Not measured**: robustness" not in text


def test_what_evaluate_never_measures_is_said(files):
    assert "**Not measured**: whether it is right as often for people of any age, sex and skin colour" in card(
        files, "report.json"
    )


def test_clips_that_no_model_saw_and_verdicts_that_are_lacking_are_counted(files):
    found = report(data={
        "name": "a|b", "split": "val", "people": 4,
        "left_out": [{"clip": "7.mp4", "label": "fake", "reason": "no face was found"}],
    })  # fmt: skip
    found["models"][0]["no_verdict"] = [{"clip": "8.mp4", "label": "real", "reason": "too short"}]
    (files / "report.json").write_text(json.dumps(found))
    text = card(files, "report.json")
    assert "## Figures: a\\|b, val\n- Clips: 9; 4 people\n" in text
    assert "- Left out before any model saw them: 1 more: 7.mp4 (fake: no face was found)" in text
    assert "1 of 9 clips (1 real and 0 fake) have no verdict" in text


def test_whose_clips_they_are_is_what_the_makers_say(files):
    (files / "about.json").write_text(json.dumps(ABOUT | {"evaluated": {"held": "Nine clips of two people."}}))
    assert "## Figures: held, test\n- Nine clips of two people.\n- Clips: 9;" in card(files, "report.json")
    (files / "about.json").write_text(json.dumps(ABOUT | {"evaluated": {"hold": "Nine clips."}}))
    with pytest.raises(InvalidInput, match="no report is of hold"):
        card(files, "report.json")


def test_a_temperature_stands_with_the_clips_of_its_fit(files):
    (files / "report.json").write_text(json.dumps(report(calibration=CALIBRATION)))
    text = card(files, "report.json")
    assert "A temperature of 1.500 (0.500 to 2.500) was fitted on 9 videos of held, split val" in text
    assert "| videos ece | 0.2500 | 0.1250 |" in text


def test_figures_of_another_model_are_refused(files):
    (files / "run" / "best.keras").write_bytes(b"another model")
    with pytest.raises(InvalidInput, match=r"report\.json: best\.keras: is not .*best\.keras, and was not converted"):
        card(files, "report.json")


def test_a_report_of_another_format_is_refused(files):
    (files / "report.json").write_text(json.dumps(report(format=1)))
    with pytest.raises(InvalidInput, match=r"wanted a report of format 2, found 1; evaluate the model again"):
        card(files, "report.json")


def test_a_run_that_has_not_ended_is_refused(files):
    (files / "run" / "done.json").unlink()
    with pytest.raises(InvalidInput, match="has not ended"):
        card(files)


@pytest.mark.parametrize("change", [{"title": 5}, {"limits": "no list"}, {"limits": [1]}, {"data": ["x"]}])
def test_what_the_makers_say_is_text(files, change):
    # A text is a sequence of texts, too: each letter of it would be a limit.
    (files / "about.json").write_text(json.dumps(ABOUT | change))
    with pytest.raises(InvalidInput, match="wanted title, notice, limits"):
        card(files)


def test_what_the_makers_say_breaks_no_table(files):
    data = [{"name": "a|b", "clips": "c\nd", "licence": "\x1b[2J", "credit": "\udcff"}]
    (files / "about.json").write_text(json.dumps(ABOUT | {"data": data}))
    text = card(files)
    text.encode()
    assert "| a\\|b | c d | ?[2J | ? |" in text


def test_without_a_report_nothing_is_measured(files):
    text = card(files)
    assert "**Not measured**: how often it is right" in text
    assert "## Figures" not in text


@pytest.mark.parametrize("name", ["about", "run/config", "run/done", "report"])
@pytest.mark.parametrize("damage", [None, "[]", "{}", "{"])
def test_what_is_damaged_is_named(files, name, damage):
    path = files / f"{name}.json"
    path.unlink() if damage is None else path.write_text(damage)
    with pytest.raises(InvalidInput, match=path.name if damage != "{}" else "lacks|wanted title"):
        card(files, "report.json")


def test_the_command_writes_it(files, capsys):
    output = files / "CARD.md"
    given = ["--about", str(files / "about.json"), "--report", str(files / "report.json"), "-o", str(output)]
    assert main(["card", str(files / "run"), *given]) == 0
    assert output.read_text() == card(files, "report.json")
    assert capsys.readouterr().out == f"wrote {output}\n"
