"""Windows and verdicts of prepared clips are those of a detector."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from deepfake_edge.detector import Detector
from deepfake_edge.runtime_choice import RuntimeOptions
from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.datasets.entries import ClipEntry, Dataset
from deepfake_edge.training.evaluating.judging import Answer, ClipWindows, ask, cut_windows, judge, whole
from deepfake_edge.training.evaluating.loading import Wanted, load_predictors
from deepfake_edge.training.preparing.preparing import prepare
from deepfake_edge.training.preparing.settings import Settings
from training.evaluating.made import FRAME_SPEC, made_answer, made_clip


def windows_of(clip, spec: ClipSpec, spacing="consecutive"):
    return cut_windows(clip, np.arange(len(clip.times_s)), spec, spacing).crops.tolist()


def test_a_clip_at_twice_the_rate_is_thinned():
    clip = made_clip(times_s=[place / 20 for place in range(8)])
    assert windows_of(clip, ClipSpec(2, 10.0)) == [[0, 2], [2, 4], [4, 6]]
    assert windows_of(clip, ClipSpec(2, 10.0, stride=2)) == [[0, 2], [4, 6]]


def test_a_lost_picture_is_held():
    clip = made_clip(times_s=[place / 10 for place in range(5)])
    found = cut_windows(clip, np.array([0, 1, 3, 4]), ClipSpec(3, 10.0), "consecutive")
    # Numbers of what is shown: picture 1 stands for picture 2, which never came.
    assert found.crops.tolist() == [[1, 1, 2], [1, 2, 3]]


def test_a_missed_face_enters_a_window_and_completes_none():
    clip = made_clip(times_s=(0.0, 0.1, 0.2, 0.3), seen=(True, True, False, True))
    assert windows_of(clip, ClipSpec(3, 10.0)) == [[1, 2, 3]]
    assert windows_of(clip, ClipSpec()) == [[0], [1], [3]]


def test_spread_pictures_are_shown_as_if_they_followed_each_other():
    clip = made_clip(times_s=(0.0, 1.0, 2.0, 3.0))
    assert windows_of(clip, ClipSpec(3, 10.0), "evenly") == [[0, 1, 2], [1, 2, 3]]
    assert windows_of(clip, ClipSpec(3, 10.0), "consecutive") == []
    dense = made_clip(times_s=[place / 20 for place in range(6)])
    assert windows_of(dense, ClipSpec(2, 10.0), "evenly") == [[0, 2], [2, 4]]


def test_a_clip_is_as_fake_as_the_mean_of_its_windows():
    score = judge(made_answer("a", "fake", [0.2, 0.4, 0.9]), FRAME_SPEC)
    assert score.fake_score == pytest.approx(0.5)
    assert score.windows == pytest.approx((0.2, 0.4, 0.9))
    assert (score.id, score.label, score.reason) == ("a", "fake", None)


def test_without_a_full_window_there_is_no_score():
    clip = made_clip(times_s=(0.0,))
    none = ClipWindows(np.empty((0, 2), np.int64), np.empty(0), np.empty(0))
    score = judge(Answer(clip, np.arange(1), none, np.empty((0, 1), np.float32)), FRAME_SPEC)
    assert score.fake_score is None
    assert "no full window" in score.reason


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fps"), [("frame.dfe", 25.0), ("clip.dfe", 12.0)])
def test_a_prepared_clip_gets_the_detectors_own_verdict(name, fps, clip_path, bundles, tmp_path):
    entry = ClipEntry(clip_path.name, "real", "test", "made", None, (), "clip")
    settings = Settings(150, "consecutive", fps, None, "haar", 4096)
    made = prepare(Dataset(clip_path.parent, (entry,)), tmp_path / "prepared", settings)
    options = RuntimeOptions("onnxruntime")
    with Detector(bundles / name, faces="haar", runtime="onnxruntime") as detector:
        wanted = detector.detect(clip_path)
    with ExitStack() as stack:
        predictor = load_predictors([bundles / name], Wanted(options, ("fp32",)), stack)[0]
        score = judge(ask(predictor, made.clips[0], whole(made.clips[0]), "consecutive"), predictor.spec)
    assert len(score.windows) == len(wanted.scores)
    assert score.fake_score == pytest.approx(wanted.fake_score, abs=1e-5)
