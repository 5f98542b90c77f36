"""How to train, as data."""

from __future__ import annotations

import json

import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.feeding.options import Augmentation, FeedOptions
from deepfake_edge.training.fitting import Stage, TrainOptions, parse_stages


def test_stages_are_read():
    found = parse_stages("frames:10, head:5@0.01,all:20@1e-4")
    assert found == (Stage("frames", 10), Stage("head", 5, 0.01), Stage("all", 20, 1e-4))


@pytest.mark.parametrize(
    "text",
    ["", "all", "all:", "all:x", "all:0", "all:1.5", "tail:3", "all:3@", "all:3@x", "all:3@0", "all:3@nan", "all:3,,"],
)
def test_other_stages_are_refused(text):
    with pytest.raises(InvalidInput, match="stages"):
        parse_stages(text)


def test_options_come_back_from_json():
    options = TrainOptions(
        "mobile-gru:frames=4",
        stages=parse_stages("frames:1,all:2@1e-4"),
        feed=FeedOptions(batch=4, seed=3, self_blended=0.5, augment=Augmentation(turn=0.0), balance="weights"),
        spec={"margin": "1.5"},
        rate=2e-3,
        schedule="constant",
        warm_up=0.0,
        smoothing=0.1,
        average=0.99,
        watch="loss",
        patience=None,
        imagenet=True,
        mixed=True,
        logical_devices=2,
        checkpoint_every=7,
    )
    assert TrainOptions.from_json(json.loads(json.dumps(options.to_json()))) == options


@pytest.mark.parametrize(
    "wrong",
    [
        {"family": 3},
        {"spec": ["margin=1.5"]},
        {"imagenet": 1},
        {"stages": ()},
        {"rate": 0.0},
        {"rate": float("nan")},
        {"schedule": "steps"},
        {"warm_up": 1.0},
        {"smoothing": 0.6},
        {"average": 1.0},
        {"watch": "accuracy"},
        {"patience": 0},
        {"logical_devices": 0},
        {"checkpoint_every": True},
    ],
)
def test_wrong_options_are_refused_by_name(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        TrainOptions(**{"family": "cnn", **wrong})
