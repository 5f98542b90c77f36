"""Frames in, scores out, with everything between for real; only the finder follows a script."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.data import Choice, Frame
from deepfake_edge.ensemble import Ensemble, Member
from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import Model
from deepfake_edge.pipeline import Pipeline
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.session import Session
from deepfake_edge.verdict import Ledger
from fakes import ScriptedFinder, bright_means_fake, score_of

BOX = (10.0, 10.0, 40.0, 40.0)


def network(graph: bytes, name: str) -> OnnxRuntimeNetwork:
    return OnnxRuntimeNetwork(graph, name=name, threads=1)


def make_session(script, **clip) -> Session:
    bundle = bright_means_fake(**clip)
    member = Member(Model(bundle, "fp32", network), 1.0, Choice("onnxruntime", "named"))
    ensemble = Ensemble((member,), bundle.spec.threshold)
    ledger = Ledger(ensemble.threshold, ensemble.clip)
    return Session(Pipeline(ensemble, ScriptedFinder(script)), ledger, described=("a", "b"), release=lambda: None)


def grey(level: int) -> np.ndarray:
    return np.full((60, 80, 3), level, np.uint8)


def test_a_score_for_each_seen_face_of_a_per_frame_model():
    session = make_session({0: [BOX], 1: [BOX, (50.0, 5.0, 70.0, 30.0)]})
    (first,) = session.push(grey(30), 0.0)
    assert first.fake_score == pytest.approx(score_of(30), abs=1e-5)
    assert len(session.push(grey(200), 0.04)) == 2


def test_a_clip_model_scores_once_its_window_is_full():
    session = make_session({key: [BOX] for key in range(10)}, frames=4, sample_fps=25.0)
    counts = [len(session.push(grey(128), index / 25)) for index in range(10)]
    assert counts == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]


def test_each_crop_meets_the_backbone_once(monkeypatch):
    session = make_session({key: [BOX] for key in range(10)}, frames=4, sample_fps=25.0)
    crops = []
    original = Model.features
    monkeypatch.setattr(Model, "features", lambda self, batch: crops.append(len(batch)) or original(self, batch))
    for index in range(10):
        session.push(grey(128), index / 25)
    assert sum(crops) == 10


def test_a_bridged_face_completes_no_window_but_is_part_of_one():
    script = {index: [BOX] for index in range(12) if index not in (4, 5)}
    session = make_session(script, frames=4, sample_fps=25.0)
    counts = [len(session.push(grey(128), index / 25)) for index in range(12)]
    assert counts == [0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1]


def test_a_per_frame_model_scores_no_bridged_face():
    session = make_session({0: [BOX], 2: [BOX]})
    assert [len(session.push(grey(9), index / 25)) for index in range(4)] == [1, 0, 1, 0]


def test_more_faces_than_a_batch_are_all_scored():
    boxes = [(float(x), float(y), x + 9.0, y + 9.0) for x in range(0, 80, 10) for y in range(0, 60, 10)]
    assert len(make_session({0: boxes}).push(grey(77), 0.0)) == len(boxes) == 48


def test_a_face_outside_the_frame_is_no_face():
    session = make_session({0: [(100.0, 10.0, 120.0, 30.0), (-30.0, 0.0, -1.0, 20.0)]})
    assert session.push(grey(1), 0.0) == ()
    assert session.finish().reason == "no face was found"


def test_nv12_and_bgr_agree():
    luma = np.full((60, 96), 81, np.uint8)[:, :80]
    chroma = np.full((30, 48, 2), 128, np.uint8)[:, :40]
    (score,) = make_session({0: [BOX]}).push(Frame(0, 0.0, (luma, chroma), "NV12"))
    grey_level = round((81 - 16) * 255 / 219)
    assert score.fake_score == pytest.approx(score_of(grey_level), abs=5e-3)


def test_the_verdict_counts_what_happened():
    session = make_session({key: [BOX] for key in range(30)})
    for index in range(30):
        session.push(grey(230), 100.0 + index / 25)
    verdict = session.finish()
    assert (verdict.label, verdict.frames_read, verdict.faces_seen) == ("fake", 30, 30)
    assert verdict.duration_s == pytest.approx(29 / 25)
    assert set(verdict.timings_ms) == {"faces", "tracking", "crops", "backbone", "head"}
    assert session.finish() == verdict


@pytest.mark.parametrize(
    ("frame", "time_s", "match"),
    [
        (grey(1), None, "time_s"),
        (grey(1), float("nan"), "finite"),
        (grey(1), "soon", "finite"),
        (Frame(0, None, grey(1)), None, "finite"),
        (grey(1).astype(np.float32), 0.0, "float32"),
        (grey(1)[..., 0], 0.0, r"\(60, 80\)"),
        (np.zeros((0, 0, 3), np.uint8), 0.0, "0 x 0"),
        (grey(1)[:, ::-1], 0.0, "contiguous"),
        (grey(1)[::-1], 0.0, "row stride"),
        ("frame.png", 0.0, "str"),
        (Frame(0, 0.0, grey(1), "NV12"), None, "tuple"),
        (Frame(0, 0.0, (grey(1), grey(1)), "BGR"), None, "tuple"),
        (Frame(0, 0.0, (grey(1)[:59, :, 0], grey(1)[:29, :40, :2]), "NV12"), None, "contiguous|even sides"),
    ],
)
def test_a_bad_frame_is_named_and_the_session_goes_on(frame, time_s, match):
    session = make_session({0: [BOX], 1: [BOX]})
    with pytest.raises(InvalidInput, match=match):
        session.push(frame, time_s)
    assert len(session.push(grey(1), 0.0)) == 1


def test_time_does_not_go_back():
    session = make_session({})
    session.push(grey(1), 5.0)
    with pytest.raises(InvalidInput, match=r"back from 5.0 to 4.9"):
        session.push(grey(1), 4.9)
    session.push(grey(1), 5.0)


def test_a_finished_session_takes_no_frame():
    session = make_session({})
    session.finish()
    with pytest.raises(InvalidInput, match="finished"):
        session.push(grey(1), 0.0)
