"""A card says what its files say, and what was not measured."""

from __future__ import annotations

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
        "stages": [{"kind": "frames", "epochs": 3, "rate": None}, {"kind": "head", "epochs": 2, "rate": None}],
        "feed": {"self_blended": 1.0, "batch": 4},
        "rate": 0.001,
        "schedule": "cosine",
        "smoothing": 0.05,
        "watch": "loss",
    },
}
DONE = {"best": {"epoch": 5, "val_loss": 0.25, "val_auc": 0.875}, "epochs": 5, "spent_s": 120.0}


STRESS = {"condition": "noise", "auc": 0.75, "flips": 2, "videos": 9}


def figure(value, low=None, high=None, reason=None):
    return {"value": value, "low": low, "high": high, "reason": reason}


def summary(unit, auc, manipulation=None):
    names = ("accuracy", "precision", "recall", "f1", "auc", "eer", "average_precision", "ece")
    figures = {name: figure(0.5, 0.25, 0.75) for name in names} | {"auc": auc}
    return {
        "dataset": manipulation and "held",
        "manipulation": manipulation,
        "unit": unit,
        "real": 6,
        "fake": 3,
        "figures": figures,
    }


def report(stress=()):
    few = figure(0.9, reason="no interval: fewer than 5 fake videos")
    none = figure(None, reason="there are only fake clips")
    return {
        "data": {"folder": "/somewhere/held", "split": "test"},
        "intervals": {"level": 0.95},
        "models": [
            {
                "title": "best.keras",
                "precision": "fp32",
                "runtime": "keras",
                "sha256": "cd" * 32,
                "clips": 9,
                "no_verdict": [],
                "summaries": [summary("videos", few), summary("windows", few), summary("videos", none, "swap")],
                "stress": list(stress),
            }
        ],
    }


@pytest.fixture
def files(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
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
    assert "frames 3, head 2; 5 epochs in 2 minutes" in text
    assert "Best epoch by validation loss: 5 (loss 0.2500, AUC 0.8750 on the validation clips)" in text
    assert "## Figures: held, test" in text
    assert "| real, fake | 6, 3 | 6, 3 |" in text
    assert "| accuracy | 0.500 (0.250 to 0.750) | 0.500 (0.250 to 0.750) |" in text
    assert "| AUC | 0.900 | 0.900 |" in text
    assert "- no interval: fewer than 5 fake videos" in text
    assert "| held swap | 6, 3 | not measured |" in text
    assert "- there are only fake clips" in text
    assert "- It knows four people." in text
    assert "**Not measured**: robustness" in text


def test_a_stress_test_is_measured(files):
    (files / "report.json").write_text(json.dumps(report([STRESS])))
    text = card(files, "report.json")
    assert "| noise | 0.750 | 2 of 9 |" in text
    assert "Not measured**" not in text


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
