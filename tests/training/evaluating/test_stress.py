"""What a stress test does to a clip, and that a model is asked again."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from deepfake_edge.runtime_choice import RuntimeOptions
from deepfake_edge.training.evaluating.answers import ask_all
from deepfake_edge.training.evaluating.judging import whole
from deepfake_edge.training.evaluating.loading import Wanted, load_predictors
from deepfake_edge.training.evaluating.stress import CLEAN, CONDITIONS, show

_BY_NAME = {condition.name: condition for condition in CONDITIONS}


@pytest.fixture(scope="module")
def clip(prepared):
    return prepared.of("test")[0]


def levels(shown) -> float:
    return float(np.mean([picture.mean() for picture in shown.pictures]))


def detail(shown) -> float:
    """Mean difference of pixels that lie side by side."""
    return float(np.mean([np.abs(np.diff(picture.astype(int), axis=1)).mean() for picture in shown.pictures]))


@pytest.mark.parametrize("name", [name for name in _BY_NAME if name != "frame loss"])
def test_pictures_change_and_stay_where_they_are(name, clip):
    before, after = whole(clip), show(whole(clip), clip, _BY_NAME[name])
    assert [picture.shape for picture in after.pictures] == [picture.shape for picture in before.pictures]
    assert (after.places == before.places).all()
    assert any((one != other).any() for one, other in zip(before.pictures, after.pictures, strict=True))
    again = show(whole(clip), clip, _BY_NAME[name])
    assert all((one == other).all() for one, other in zip(after.pictures, again.pictures, strict=True))


def test_each_does_what_it_says(clip):
    before = whole(clip)
    shown = {name: show(before, clip, condition) for name, condition in _BY_NAME.items()}
    assert levels(shown["dark"]) == pytest.approx(levels(before) / 2, abs=1.0)
    assert detail(shown["H.264 crf 40"]) < detail(shown["H.264 crf 32"]) < detail(shown["H.264 crf 23"])
    assert detail(shown["resize 1/4"]) < detail(shown["resize 1/2"]) < detail(before)
    assert detail(shown["blur"]) < detail(before) < detail(shown["noise"])
    errors = [one.astype(int) - other for one, other in zip(shown["noise"].pictures, before.pictures, strict=True)]
    assert np.std(np.concatenate([error.ravel() for error in errors])) == pytest.approx(10.0, rel=0.1)


def test_three_of_ten_pictures_are_lost_and_the_rest_keep_their_times(clip):
    before, after = whole(clip), show(whole(clip), clip, _BY_NAME["frame loss"])
    assert len(after.places) == len(after.pictures) == round(0.7 * len(before.places))
    assert (np.diff(after.places) > 0).all()
    for place, picture in zip(after.places, after.pictures, strict=True):
        assert (picture == before.pictures[place]).all()


def test_every_model_is_asked_under_every_condition(prepared, bundles):
    with ExitStack() as stack:
        files = [bundles / "frame.dfe", bundles / "clip.dfe"]
        predictors = load_predictors(files, Wanted(RuntimeOptions("onnxruntime")), stack)
        told: list[tuple[int, int]] = []
        found = ask_all(predictors, prepared, "test", CONDITIONS, lambda *progress: told.append(progress))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [item.identity.title for item in found] == ["frame.dfe fp32", "clip.dfe fp32", "clip.dfe int8"]
    for item in found:
        assert list(item.answers) == [CLEAN.name, *_BY_NAME]
        clean, dark = item.scores(), item.scores("dark")
        # These models call bright faces fake.
        assert all(one.fake_score > other.fake_score for one, other in zip(clean, dark, strict=True))
