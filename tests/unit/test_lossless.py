"""What precision costs in judgement: figures of variants whose cost is known beforehand."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from onnx import helper

from deepfake_edge.benchmarks import lossless
from deepfake_edge.bundle import write_bundle
from fakes import SIZE_PX, bright_means_fake, brightness_graph, score_of, serialise

DARK, BRIGHT = (20, 60, 130), (120, 180, 240)


def coarse_graph():
    """As the bright one, but it sees no more than whether the mean is above zero: outputs 0.2 or 0.8."""
    nodes = [
        helper.make_node("ReduceMean", ["crops"], ["pooled"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["pooled", "last"], ["mean"]),
        helper.make_node("Sign", ["mean"], ["side"]),
        helper.make_node("Mul", ["side", "reach"], ["apart"]),
        helper.make_node("Add", ["apart", "middle"], ["outputs"]),
    ]
    values = {"last": np.array([1]), "reach": np.float32([0.3]), "middle": np.float32([0.5])}
    return serialise(nodes, values, ("outputs", ["n", 1]), ("crops", ["n", 3, SIZE_PX, SIZE_PX]))


@pytest.fixture
def files(tmp_path):
    def write(level):
        path = tmp_path / f"{level}.png"
        cv2.imwrite(str(path), np.full((32, 32, 3), level, np.uint8))
        return path

    return [write(level) for level in DARK], [write(level) for level in BRIGHT]


@pytest.fixture
def bundle(tmp_path):
    def write(**graphs):
        made = bright_means_fake()
        plain = made.variants["fp32"]
        variants = {name: replace(plain, backbone=graph) for name, graph in graphs.items()}
        path = tmp_path / "bright.dfe"
        write_bundle(replace(made, variants={"fp32": plain, **variants}), path)
        return path

    return write


def run(bundle, files, *more):
    real, fake = files
    return lossless.main([str(bundle), "--real", *map(str, real), "--fake", *map(str, fake), *more])


def test_the_same_networks_cost_nothing(bundle, files, capsys):
    same = brightness_graph("outputs", "Sigmoid")
    assert run(bundle(fp16=same), files, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["runtime"], row["precision"]) for row in rows} >= {("onnxruntime", "fp32"), ("onnxruntime", "fp16")}
    for row in rows:
        # Of nine pairs one is in the wrong order: 130 is real, 120 fake.
        assert row["auc_windows"] == row["auc_files"] == pytest.approx(8 / 9)
        assert row["windows"] == 6
        if row["precision"] != "bf16":
            assert row["max_diff"] < 1e-5
            assert row["flips"] == 0


def test_what_is_lost_is_told(bundle, files, capsys):
    assert run(bundle(int8=coarse_graph()), files, "--json") == 1
    found = capsys.readouterr()
    row = next(
        row for row in json.loads(found.out) if (row["runtime"], row["precision"]) == ("onnxruntime", "int8")
    )  # fmt: skip
    sides = {level: 0.8 if level > 127.5 else 0.2 for level in (*DARK, *BRIGHT)}
    pairs = [(sides[low], sides[high]) for low in DARK for high in BRIGHT]
    area = sum((high > low) + (high == low) / 2 for low, high in pairs) / 9
    apart = [abs(score_of(level) - side) for level, side in sides.items()]
    assert row["auc_windows"] == pytest.approx(area)
    assert row["max_diff"] == pytest.approx(max(apart), abs=1e-5)
    assert row["mean_diff"] == pytest.approx(sum(apart) / 6, abs=1e-5)
    assert "onnxruntime int8: its area is more than 0.005 below fp32's" in found.err


def test_the_table_names_every_variant(bundle, files, capsys):
    same = brightness_graph("outputs", "Sigmoid")
    assert run(bundle(**{"int8": same, "int8-unsigned": same}), files) == 0
    shown = capsys.readouterr().out
    assert "onnxruntime  int8 (int8-unsigned)" in shown
    assert shown.startswith("runtime")


def test_files_of_one_kind_cannot_be_told_apart(bundle, files, capsys):
    with pytest.raises(SystemExit) as caught:
        lossless.main([str(bundle()), "--real", *map(str, files[0])])
    assert caught.value.code == 1
    assert "wanted real and fake ones" in capsys.readouterr().err


def test_pictures_are_no_clips(tmp_path, files, capsys):
    write_bundle(bright_means_fake(frames=4, sample_fps=5.0), tmp_path / "clip.dfe")
    with pytest.raises(SystemExit):
        run(tmp_path / "clip.dfe", files)
    assert "a face in 1 frames, a window takes 4" in capsys.readouterr().err


def test_self_blended_fakes_are_added(bundle, files, capsys):
    real, fake = files
    lossless.main([str(bundle()), "--real", str(real[0]), "--fake", str(fake[0]), "--self-blended", "3", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["windows"] == 5
