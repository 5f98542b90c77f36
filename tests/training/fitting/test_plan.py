"""What is settled, and refused, before anything is built."""

from __future__ import annotations

import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deepfake_edge.converters.family_option import parse_family
from deepfake_edge.converters.spec_values import parse_overrides
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.families import FAMILIES
from deepfake_edge.training.fitting.plan import data_digest, make_plan
from deepfake_edge.training.preparing.prepared import read_prepared
from deepfake_edge.training.preparing.settings import Settings
from training.fitting.small import fed, options

CLIPS = "mobile-gru:size_px=32,frames=4"


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_its_own_spec(prepared, name):
    family = FAMILIES[name]
    frames = min(family.spec.clip.frames, 6)
    plan = make_plan(prepared, options(name if frames == 1 else f"{name}:frames={frames}"))
    assert plan.spec.crop == family.spec.crop
    assert plan.spec.clip.frames == frames
    assert plan.spec.classes == family.spec.classes
    assert [len(plan.train), len(plan.val)] == [4, 4]


def test_what_convert_must_be_told(prepared):
    changes = {"margin": "1.5", "mean": "127.5", "scale": "1/127.5", "frames": "5", "classes": "fake,real"}
    plan = make_plan(prepared, options("cnn-lstm:size_px=32", spec={**changes, "classes": "real"}))
    told = plan.convert_options()
    assert told[0] == "--family"
    family, sizes = parse_family(told[1])
    assert (family.name, dict(sizes)) == ("cnn-lstm", {"frames": 5, "size_px": 32})
    given = parse_overrides(dict(pair.split("=", 1) for pair in told[3::2]))
    assert set(told[2::2]) == {"--spec"}
    assert given == {
        "margin": 1.5,
        "mean": plan.spec.crop.mean,
        "scale": plan.spec.crop.scale,
        "sample_fps": 12.0,
        "classes": ("real",),
    }


def test_the_rate_that_was_prepared_becomes_the_models(prepared):
    plan = make_plan(prepared, options("cnn-lstm:size_px=32,frames=4"))
    assert plan.spec.clip.sample_fps == 12.0
    assert "12 frames a second" in plan.notes[0]
    assert not make_plan(prepared, options(CLIPS)).notes
    assert make_plan(prepared, options(CLIPS, spec={"sample_fps": "6"})).spec.clip.sample_fps == 6.0
    evenly = replace(prepared, settings=Settings(frames=6))
    assert "--consecutive" in make_plan(evenly, options(CLIPS)).notes[0]
    assert not make_plan(evenly, options()).notes


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (options("vgg"), "family: wanted one of"),
        (options("cnn:units=3"), "cnn takes"),
        (options("mobile-gru:frames=7"), "longer than any clip to train on .6.*frames=6"),
        (options("mobile-gru:frames=4", spec={"frames": "5"}), "frames: 5 was given"),
        (options("cnn", spec={"frames": "5"}), "frames: 5 was given"),
        (options("cnn", spec={"margin": "0"}), "margin"),
        (options("cnn", spec={"marginal": "1"}), "unknown"),
        (options("cnn", spec={"activation": "softmax"}), "ends in a sigmoid"),
        (options("cnn", "frames:1", "all:1"), "single crops already"),
        (options(CLIPS, "frames:1"), "add head:N or all:N"),
        (options(CLIPS, "all:1", "frames:1", "head:1"), "put it first"),
    ],
)
def test_what_cannot_work_is_refused(prepared, asked, words):
    with pytest.raises(InvalidInput, match=words):
        make_plan(prepared, asked)


def without(prepared, split, label):
    return replace(prepared, clips=tuple(c for c in prepared.clips if (c.entry.split, c.entry.label) != (split, label)))


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_label_without_clips_is_refused(prepared, split):
    with pytest.raises(InvalidInput, match=f"{split}: wanted real clips, found 0 real, 2 fake"):
        make_plan(without(prepared, split, "real"), options())
    fakeless = without(prepared, split, "fake")
    with pytest.raises(InvalidInput, match=f"{split}: wanted fake clips, found 2 real, 0 fake.*--self-blended 1"):
        make_plan(fakeless, options())
    make_plan(fakeless, options(feed=fed(self_blended=1.0)))


def test_fakes_to_train_on_are_wanted_beside_self_blends(prepared):
    half = options(feed=fed(self_blended=0.5))
    with pytest.raises(InvalidInput, match="train: wanted fake clips"):
        make_plan(without(prepared, "train", "fake"), half)
    make_plan(without(prepared, "val", "fake"), half)


def test_the_digest_is_of_the_clips_that_are_used(prepared):
    plan = make_plan(prepared, options())
    assert data_digest(plan) == data_digest(make_plan(prepared, options(CLIPS)))
    assert data_digest(plan) != data_digest(replace(plan, train=plan.train[1:]))


def test_the_digest_is_of_the_pixels_too(prepared, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(prepared.folder, folder)
    picture = next(folder.glob("clips/*real-000/*.png"))
    plan, digests, sizes = make_plan(read_prepared(folder), options()), set(), set()
    for level in (10, 11):
        cv2.imwrite(str(picture), np.full((64, 64, 3), level, np.uint8), (cv2.IMWRITE_PNG_COMPRESSION, 0))
        digests.add(data_digest(plan))
        sizes.add(picture.stat().st_size)
    assert (len(digests), len(sizes)) == (2, 1)


def test_people_in_both_splits_are_said(prepared):
    crossing = replace(prepared.of("val")[0], entry=replace(prepared.of("train")[0].entry, split="val"))
    plan = make_plan(replace(prepared, clips=(*prepared.clips, crossing)), options())
    assert "1 of 3 people of val are in train too" in plan.notes[-1]
    assert not make_plan(prepared, options()).notes
