"""What was observed is taken again when nothing changed, and never when something did."""

from __future__ import annotations

from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest

from deepfake_edge.converters.precision import range_cache
from deepfake_edge.converters.precision.range_cache import observe_once
from deepfake_edge.sealed import seal, unseal
from deepfake_edge.spec import CropSpec

onnx = pytest.importorskip("onnx")

CROP = CropSpec(size_px=4)
TAKEN = "calibrating: nothing changed since the last time, its ranges are taken"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ranges"


@pytest.fixture
def crops():
    return np.random.default_rng(2).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)


def graph(operator="Relu"):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    return helper.make_model(
        helper.make_graph(
            [helper.make_node(operator, ["crops"], ["out"], name="only")],
            "g",
            [helper.make_tensor_value_info("crops", kind, ("batch", 3, 4, 4))],
            [helper.make_tensor_value_info("out", kind, ("batch", 3, 4, 4))],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    ).SerializeToString()


def same(first, second):
    return first.names == second.names and all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in ("low", "high", "reach", "counts")
    )


@pytest.fixture
def asked(monkeypatch):
    """How often a network was really run."""
    calls = []
    real = range_cache.observe
    monkeypatch.setattr(range_cache, "observe", lambda *given: calls.append(1) or real(*given))
    return calls


def test_the_second_time_is_free(crops, asked, folder):
    said: list[str] = []
    first = observe_once(graph(), crops, CROP, progress=said.append)
    second = observe_once(graph(), crops, CROP, progress=said.append)
    assert len(asked) == 1
    assert said == [TAKEN]
    assert same(first, second)
    assert first.ranges("entropy") == second.ranges("entropy")
    assert [path.suffix for path in folder.iterdir()] == [".zip"]


def test_whatever_changes_is_observed_anew(crops, asked, monkeypatch):
    observe_once(graph(), crops, CROP)
    changed = crops.copy()
    changed[0, 0, 0, 0] ^= 1
    observe_once(graph("Sigmoid"), crops, CROP)
    observe_once(graph(), changed, CROP)
    observe_once(graph(), crops[::-1].copy(), CROP)
    observe_once(graph(), crops, replace(CROP, mean=(0.0, 0.0, 0.0)))
    real = metadata.version
    monkeypatch.setattr(range_cache.metadata, "version", lambda tool: real(tool) + ".1")
    observe_once(graph(), crops, CROP)
    assert len(asked) == 6


def damages():
    def resealed(change):
        def damage(content):
            members = unseal(content, "x")
            change(members)
            return seal(members)

        return damage

    return {
        "empty": lambda content: b"",
        "cut short": lambda content: content[:-9],
        "a flipped bit": lambda content: content[:200] + bytes([content[200] ^ 4]) + content[201:],
        "a member less": resealed(lambda members: members.pop("low.npy")),
        "other names": resealed(lambda members: members.update({"names.json": b'["crops"]'})),
        "names that are none": resealed(lambda members: members.update({"names.json": b"[1, 2]"})),
        "no JSON": resealed(lambda members: members.update({"names.json": b"[" * 100000})),
        "another type": resealed(lambda members: members.update({"low.npy": members["counts.npy"]})),
    }


@pytest.mark.parametrize("damage", damages().values(), ids=damages())
def test_a_damaged_file_counts_as_none_and_is_written_again(damage, crops, asked, folder):
    first = observe_once(graph(), crops, CROP)
    (path,) = folder.iterdir()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert same(observe_once(graph(), crops, CROP), first)
    assert len(asked) == 2
    assert path.read_bytes() == good


def test_a_folder_that_cannot_be_written_is_told(crops, asked, folder):
    folder.parent.mkdir()
    folder.write_text("a file where a folder should be")
    said: list[str] = []
    first = observe_once(graph(), crops, CROP, progress=said.append)
    assert said[0].startswith("calibrating: the ranges cannot be kept for the next time (")
    assert same(observe_once(graph(), crops, CROP), first)
    assert len(asked) == 2
