"""`deepfake-edge train`, as users see it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deepfake_edge.bundle import read_bundle
from deepfake_edge.cli import main
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.fitting import TrainOptions, parse_stages
from training.fitting.small import CNN, history

COMMAND = "import sys; from deepfake_edge.cli import main; sys.exit(main())"
SMALL = ["--batch", "4", "--no-augment", "--family", CNN]


def test_train_then_convert(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", str(prepared.folder), *SMALL, "--stages", "all:1", "-o", "run"]) == 0
    out = capsys.readouterr().out
    assert "validation AUC" in out
    line = out.strip().splitlines()[-1]
    assert line == f"deepfake-edge convert run/best.keras --family {CNN} -o cnn.dfe"
    assert main(["train", "--resume", "run"]) == 0
    assert capsys.readouterr().out == out


@pytest.mark.slow
def test_what_convert_is_told_is_what_was_trained(prepared, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    family = ["--family", "cnn-lstm:size_px=32,frames=4", "--spec", "margin=1.5", "--spec", "classes=real"]
    assert main(["train", str(prepared.folder), "--batch", "4", *family, "--stages", "all:1", "-o", "run"]) == 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert main(line.split()[1:]) == 0
    wanted = json.loads((tmp_path / "run" / "config.json").read_text())["spec"]
    assert read_bundle(tmp_path / "cnn-lstm.dfe").spec == ModelSpec.from_json(wanted)


def test_every_option_reaches_the_run(prepared, tmp_path):
    given = {
        "--stages": "frames:1,head:1@0.01,all:1",
        "--rate": "0.002",
        "--schedule": "constant",
        "--warm-up": "0",
        "--smoothing": "0.1",
        "--average": "0.9",
        "--watch": "loss",
        "--patience": "3",
        "--seed": "7",
        "--batch": "2",
        "--windows": "1",
        "--self-blended": "0.5",
        "--blend-strength": "1",
        "--balance": "weights",
        "--cache-mb": "16",
        "--checkpoint-every": "5",
        "--augment": "flip=1",
    }
    listed = [part for pair in given.items() for part in pair]
    run = tmp_path / "run"
    family = "cnn-lstm:size_px=32,frames=2"
    assert main(["train", str(prepared.folder), "--family", family, "-o", str(run), "--no-augment", *listed]) == 0
    found = TrainOptions.from_json(json.loads((run / "config.json").read_text())["options"])
    assert found.stages == parse_stages(given["--stages"])
    assert (found.rate, found.schedule, found.warm_up, found.smoothing) == (0.002, "constant", 0.0, 0.1)
    assert (found.average, found.watch, found.patience, found.checkpoint_every) == (0.9, "loss", 3, 5)
    feed = found.feed
    assert (feed.seed, feed.batch, feed.windows, feed.self_blended, feed.blend_strength) == (7, 2, 1, 0.5, 1.0)
    assert (feed.balance, feed.cache_mb, feed.augment.flip, feed.augment.turn) == ("weights", 16, 1.0, 0.0)
    assert [row["stage"] for row in history(run)] == ["frames", "head", "all"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "wanted PREPARED, --family NAME and -o RUN, or --resume RUN"),
        (["DATA", "--family", "cnn"], "or --resume RUN"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--stages", "tail:3"], "stages: wanted KIND:EPOCHS"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--augment", "flop=1"], "--augment: wanted one of"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--augment", "flip=x"], "flip: wanted a number"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--spec", "margin"], "--spec: wanted KEY=VALUE"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--batch", "0"], "batch: wanted a whole number"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--watch", "last", "--patience", "3"], "with --watch last no stage"),
        (["DATA", "--family", "cnn", "-o", "RUN", "--no-early-stop", "--patience", "3"], "with --no-early-stop no"),
        (["RUN", "--family", "cnn", "-o", "RUN"], "is no prepared folder"),
        (["--resume", "RUN"], "is no run that can be taken up again"),
        (["--resume", "RUN", "--rate", "1", "--no-augment"], "leave out --no-augment, --rate"),
    ],
)
def test_wrong_use_is_one_line(prepared, tmp_path, capsys, given, words):
    places = {"DATA": str(prepared.folder), "RUN": str(tmp_path / "run")}
    assert main(["train", *(places.get(part, part) for part in given)]) == 1
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ctrl_c_ends_with_130_and_a_run_that_goes_on(prepared, tmp_path):
    run = tmp_path / "run"
    given = ["train", str(prepared.folder), *SMALL, "--stages", "all:500", "--no-early-stop", "-o", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *given], stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    for _ in range(1200):
        if (run / "history.csv").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert f"go on with: deepfake-edge train --resume {run}" in said
    assert "Traceback" not in said
    assert not (run / "done.json").exists()
