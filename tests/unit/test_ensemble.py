"""Several models on the same frames: when a track gets a fused score, and what it is."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_edge import BundleError, Detector, InvalidInput
from deepfake_edge.bundle import Bundle, write_bundle
from deepfake_edge.data import Choice, Score
from deepfake_edge.ensemble import Ensemble, Member
from deepfake_edge.errors import InferenceError
from deepfake_edge.model import Model
from deepfake_edge.pipeline import Pipeline
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.session import Session
from deepfake_edge.verdict import Ledger
from fakes import ScriptedFinder, bright_means_fake, score_of

BOX = (10.0, 10.0, 40.0, 40.0)
FPS = 25.0
PER_FRAME = bright_means_fake(name="frame", temperature=3.0)
CLIP = bright_means_fake(frames=4, sample_fps=FPS, name="clip")

RUNTIME = Choice("onnxruntime", "named")


def network(graph: bytes, name: str) -> OnnxRuntimeNetwork:
    return OnnxRuntimeNetwork(graph, name=name, threads=1)


def make(*parts: tuple[Bundle, float]) -> Ensemble:
    return Ensemble(tuple(Member(Model(bundle, "fp32", network), weight, RUNTIME) for bundle, weight in parts), 0.5)


def start(ensemble: Ensemble, script) -> Session:
    ledger = Ledger(ensemble.threshold, ensemble.clip)
    pipeline = Pipeline(ensemble, ScriptedFinder(script))
    return Session(pipeline, ledger, described=("a", "b"), release=lambda: None)


def seen(*frames: int) -> dict[int, list[tuple[float, float, float, float]]]:
    return {index: [BOX] for index in frames}


def picture(index: int) -> np.ndarray:
    """Brighter from frame to frame, and darker away from the face."""
    frame = np.full((60, 80, 3), 40, np.uint8)
    frame[10:40, 10:40] = 60 + 4 * index
    return frame


def scores_of(session: Session, count: int) -> list[Score | None]:
    """The one track's score at each frame, or None."""
    found = []
    for index in range(count):
        scores = session.push(picture(index), index / FPS)
        assert len(scores) <= 1
        found.append(scores[0] if scores else None)
    return found


def test_a_temporal_and_a_per_frame_model_give_their_weighted_mean():
    wide = replace(PER_FRAME, spec=replace(PER_FRAME.spec, crop=replace(PER_FRAME.spec.crop, margin=2.0)))
    script = seen(*range(12))
    clip = scores_of(start(make((CLIP, 1.0)), script), 12)
    frame = scores_of(start(make((wide, 1.0)), script), 12)
    fused = scores_of(start(make((CLIP, 0.6), (wide, 0.4)), script), 12)
    assert [score is None for score in fused] == [True] * 3 + [False] * 9
    for index in range(3, 12):
        assert fused[index].fake_score == pytest.approx(
            0.6 * clip[index].fake_score + 0.4 * frame[index].fake_score, abs=1e-9
        )
        assert abs(clip[index].fake_score - frame[index].fake_score) > 0.01
        assert (fused[index].start_s, fused[index].end_s) == (clip[index].start_s, clip[index].end_s)


def test_between_two_windows_the_older_score_of_the_clip_model_counts():
    slow = bright_means_fake(frames=4, sample_fps=FPS, stride=5, name="slow")
    script = seen(*range(12))
    clip = scores_of(start(make((slow, 1.0)), script), 12)
    frame = scores_of(start(make((PER_FRAME, 1.0)), script), 12)
    fused = scores_of(start(make((slow, 0.5), (PER_FRAME, 0.5)), script), 12)
    assert [index for index, score in enumerate(clip) if score] == [3, 8]
    for index in range(3, 12):
        newest = clip[3] if index < 8 else clip[8]
        assert fused[index].fake_score == pytest.approx((newest.fake_score + frame[index].fake_score) / 2, abs=1e-9)
        assert (fused[index].start_s, fused[index].end_s) == (newest.start_s, index / FPS)


def test_nothing_new_is_no_score():
    slow = [bright_means_fake(sample_fps=rate, name=f"at {rate}") for rate in (5.0, 2.5)]
    fused = scores_of(start(make((slow[0], 0.5), (slow[1], 0.5)), seen(*range(21))), 21)
    assert [index for index, score in enumerate(fused) if score] == [0, 4, 8, 9, 14, 18, 19]
    assert all(score.start_s == score.end_s for score in fused if score)


def test_a_member_without_a_score_is_not_left_out():
    session = start(make((CLIP, 0.01), (PER_FRAME, 0.99)), seen(0, 1, 2))
    assert scores_of(session, 3) == [None] * 3
    verdict = session.finish()
    assert (verdict.label, verdict.fake_score) == ("insufficient_evidence", None)
    assert "a window of 4 crops takes 0.12 s" in verdict.reason


def test_a_score_does_not_outlive_its_track():
    # Unseen for longer than half a second: another track, and the clip model has to see four crops of it.
    fused = scores_of(start(make((CLIP, 0.5), (PER_FRAME, 0.5)), seen(*range(6), *range(25, 31))), 31)
    assert [index for index, score in enumerate(fused) if score] == [3, 4, 5, 28, 29, 30]


def test_a_clip_score_lapses_when_the_face_is_seen_too_seldom_for_a_new_one():
    clip = bright_means_fake(frames=10, sample_fps=FPS, name="clip")
    script = seen(*range(10), *range(12, 46, 3))
    fused = scores_of(start(make((clip, 0.5), (PER_FRAME, 0.5)), script), 46)
    last = max(index for index, score in enumerate(scores_of(start(make((clip, 1.0)), script), 46)) if score)
    given_at = [index for index, score in enumerate(fused) if score]
    # The next window is due a frame later; 0.5 s without it, and what the clip model said has lapsed.
    assert last < max(given_at) <= last + 1 + 0.5 * FPS
    assert fused[45] is None


def test_a_failed_head_leaves_no_old_score_behind(monkeypatch):
    session = start(make((CLIP, 0.5), (PER_FRAME, 0.5)), seen(*range(10)))
    scores_of(session, 5)
    original = Model.scores

    def fail(model, windows):
        if model.spec.clip.frames > 1:
            raise InferenceError("no")
        return original(model, windows)

    monkeypatch.setattr(Model, "scores", fail)
    with pytest.raises(InferenceError):
        session.push(picture(5), 5 / FPS)
    monkeypatch.undo()
    # At the same time no slot is free, so that the clip model has nothing new, and nothing old either.
    assert session.push(picture(5), 5 / FPS) == ()


def test_two_faces_keep_their_scores_apart():
    other = (50.0, 10.0, 70.0, 30.0)
    script = {index: [BOX, other] if index >= 4 else [BOX] for index in range(9)}
    session = start(make((CLIP, 0.5), (PER_FRAME, 0.5)), script)
    found = [[score.track_id for score in session.push(picture(index), index / FPS)] for index in range(9)]
    assert found == [[], [], [], [1], [1], [1], [1], [1, 2], [1, 2]]


def test_per_frame_models_together_decide_as_one_does():
    session = start(make((PER_FRAME, 0.5), (bright_means_fake(), 0.5)), seen(*range(14)))
    scores_of(session, 3)
    early = session.verdict()
    assert "at least 0.5 s and 3 crops are needed" in early.reason
    for index in range(3, 14):
        session.push(picture(index), index / FPS)
    assert session.verdict().label in ("real", "fake")


def test_an_ensemble_of_one_says_what_its_model_says_frame_scores_included():
    scored = bright_means_fake(frames=4, sample_fps=FPS, frame_outputs="frame_outputs")
    script = seen(*range(8))
    alone = scores_of(start(make((scored, 1.0)), script), 8)
    (score,) = start(make((PER_FRAME, 1.0)), script).push(picture(2), 0.0)
    assert score.frame_scores == ()
    for index in range(3, 8):
        wanted = [score_of(60 + 4 * number) for number in range(index - 3, index + 1)]
        assert alone[index].frame_scores == pytest.approx(wanted, abs=1e-5)
    fused = scores_of(start(make((scored, 0.5), (PER_FRAME, 0.5)), script), 8)
    assert fused[7].frame_scores == ()


def test_a_fused_network_in_a_pipeline_says_what_the_cut_one_says():
    boxes = [(float(x), float(y), x + 9.0, y + 9.0) for x in range(0, 80, 10) for y in range(0, 60, 10)]
    found = []
    for fused in (False, True):
        bundle = bright_means_fake(frames=4, sample_fps=FPS, fused=fused)
        session = start(make((bundle, 1.0)), dict.fromkeys(range(5), boxes))
        found.append([score.fake_score for index in range(5) for score in session.push(picture(index), index / FPS)])
    assert len(found[0]) == len(boxes) * 2 == 96
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(0.0, 1.0)), min_size=1, max_size=16),
)
def test_a_fused_score_lies_between_the_members(parts):
    total = sum(weight for weight, _ in parts)
    model = make((PER_FRAME, 1.0)).members[0].model
    ensemble = Ensemble(tuple(Member(model, weight / total, RUNTIME) for weight, _ in parts), 0.5)
    values = [value for _, value in parts]
    fused = ensemble.fuse([Score(1, 0.0, 0.0, value) for value in values]).fake_score
    assert min(values) <= fused <= max(values)
    assert fused == pytest.approx(np.average(values, weights=[weight for weight, _ in parts]), abs=1e-9)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    write_bundle(CLIP, folder / "clip.dfe")
    write_bundle(PER_FRAME, folder / "frame.dfe")
    write_bundle(bright_means_fake(name="strict", threshold=0.9), folder / "strict.dfe")
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (64, 48))
    for _ in range(30):
        writer.write(np.full((48, 64, 3), 200, np.uint8))
    writer.release()
    cv2.imwrite(str(folder / "still.png"), np.full((48, 64, 3), 200, np.uint8))
    return folder


def write_recipe(folder, threshold: float | None = None, **weights: float):
    models = [{"bundle": f"{name}.dfe", "weight": weight} for name, weight in weights.items()]
    (folder / "ensemble.json").write_text(
        json.dumps({"models": models, **({} if threshold is None else {"threshold": threshold})})
    )
    return folder / "ensemble.json"


def test_a_list_and_a_file_are_the_same_detector(place):
    paths = [place / "clip.dfe", place / "frame.dfe"]
    with (
        Detector(paths, weights=[3, 1], faces="whole") as listed,
        Detector(write_recipe(place, clip=0.3, frame=0.1), faces="whole") as read,
    ):
        assert [member.weight for member in listed.members] == pytest.approx([0.75, 0.25])
        assert (listed.name, listed.precision, listed.threshold) == ("clip + frame", "fp32", 0.5)
        assert listed.sha256 == read.sha256
        wanted, found = (detector.detect(place / "clip.mp4").scores for detector in (listed, read))
        assert [score.end_s for score in found] == [score.end_s for score in wanted]
        np.testing.assert_allclose([s.fake_score for s in found], [s.fake_score for s in wanted], atol=1e-12)
        clip, frame = score_of(200), 1 / (1 + np.exp(-np.log(score_of(200) / (1 - score_of(200))) / 3.0))
        verdict = listed.detect(place / "clip.mp4")
        assert verdict.fake_score == pytest.approx(0.75 * clip + 0.25 * frame, abs=0.03)
        assert len(verdict.scores) == 27
        assert listed.detect(place / "still.png").label == "insufficient_evidence"


def test_what_decides_is_in_the_digest(place):
    paths = [place / "clip.dfe", place / "frame.dfe"]
    digests = []
    for weights in ([1, 1], [1, 2], [2, 4]):
        with Detector(paths, weights=weights, faces="whole") as detector:
            digests.append(detector.sha256)
    assert digests[0] != digests[1] == digests[2]
    with Detector(place / "frame.dfe", faces="whole") as alone, Detector([place / "frame.dfe"], faces="whole") as one:
        assert alone.sha256 == one.sha256 == alone.members[0].model.sha256
        assert alone.spec == PER_FRAME.spec
    with Detector(write_recipe(place, 0.9, frame=1), faces="whole") as stricter:
        assert stricter.sha256 != alone.sha256
        assert stricter.spec.threshold == stricter.threshold == 0.9


def test_the_ensembles_threshold_decides(place):
    recipe = write_recipe(place, 0.3, strict=1, frame=1)
    with Detector(recipe, faces="whole") as detector:
        assert detector.detect(place / "still.png").label == "fake"
        with pytest.raises(InvalidInput, match="an ensemble of 2 models has none of its own"):
            _ = detector.spec
    with pytest.raises(InvalidInput, match=r"the members have 0\.5, 0\.9"):
        Detector([place / "strict.dfe", place / "frame.dfe"], faces="whole")


def test_a_member_that_is_absent_or_lacks_the_variant_is_named(place):
    with pytest.raises(BundleError, match=r"absent\.dfe: cannot be read"):
        Detector([place / "clip.dfe", place / "absent.dfe"], faces="whole")
    with pytest.raises(InvalidInput, match="clip: this bundle has fp32"):
        Detector([place / "clip.dfe", place / "frame.dfe"], precision="int8", faces="whole")
