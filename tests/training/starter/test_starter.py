"""The starter is small, is what its recipe says, and is right about the demo's two clips."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex

import pytest

from deepfake_edge.cli import main
from deepfake_edge.cli import train as train_command
from deepfake_edge.training.starter import CARD, MODEL, RUN

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def recipe_line():
    text = (RUN.parent / "recipe.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^deepfake-edge (train .*)$", text, re.MULTILINE)
    return shlex.split(line)


def test_it_is_small():
    keras = pytest.importorskip("keras", reason="needs the convert extra")
    assert MODEL.stat().st_size <= 3_000_000
    model = keras.saving.load_model(MODEL, compile=False)
    assert model.name == "mobile_gru"
    assert model.count_params() <= 650_000


def test_the_recipe_is_the_configuration_that_trained_it():
    parser = argparse.ArgumentParser()
    train_command.add_parser(parser.add_subparsers())
    given = parser.parse_args(recipe_line())
    assert (
        train_command._options(given).to_json()
        == train_command._options(given).from_json(json.loads(RUN.read_text())["options"]).to_json()
    )


def test_the_card_is_this_models():
    card, run = CARD.read_text(encoding="utf-8"), json.loads(RUN.read_text())
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in card
    assert run["data_sha256"] in card
    assert "A demonstration, not a detector for real use" in card
    assert "CC BY 4.0" in card
    assert "Cooke" in card


def test_the_demo_is_right_about_both_clips(tmp_path, capsys):
    pytest.importorskip("keras", reason="needs the convert extra")
    assert main(["--quiet", "demo", "--out", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 verdicts are right" in said
    assert "A DEMONSTRATION, NOT A DETECTOR FOR REAL USE" in said
    labels = [json.loads(line)["label"] for line in (tmp_path / "demo" / "verdicts.jsonl").read_text().splitlines()]
    assert labels == ["real", "fake"]
    for clip in ("pristine", "blended"):
        assert (tmp_path / "demo" / "annotated" / f"{clip}.mp4").stat().st_size > 10_000
