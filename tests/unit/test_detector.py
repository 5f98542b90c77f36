"""Files in, verdicts out, through the public class; the networks are tiny and real."""

from __future__ import annotations

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deepfake_edge import BundleError, Detector, InvalidInput, MissingDependency, SourceError
from deepfake_edge.bundle import write_bundle
from fakes import bright_means_fake, score_of

# mp4v keeps a flat grey picture within a level or two.
CODEC_TOLERANCE = 0.03


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_bundle(bright_means_fake(), folder / "frame.dfe")
    write_bundle(bright_means_fake(frames=10, sample_fps=25.0, stride=5), folder / "clip.dfe")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """clip.mp4: 2 s of dark grey at 25 frames a second; still.png: bright; frames/: 20 pictures."""
    folder = tmp_path_factory.mktemp("clips")
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (64, 48))
    for _ in range(50):
        writer.write(np.full((48, 64, 3), 60, np.uint8))
    writer.release()
    cv2.imwrite(str(folder / "still.png"), np.full((48, 64, 3), 220, np.uint8))
    (folder / "frames").mkdir()
    for index in range(20):
        cv2.imwrite(str(folder / "frames" / f"{index}.png"), np.full((48, 64, 3), 220, np.uint8))
    return folder


def test_a_video(models, clips):
    with Detector(models / "frame.dfe", faces="whole") as detector:
        verdict = detector.detect(clips / "clip.mp4")
    assert (verdict.label, verdict.frames_read, verdict.faces_seen, verdict.complete) == ("real", 50, 50, True)
    assert verdict.fake_score == pytest.approx(score_of(60), abs=CODEC_TOLERANCE)
    assert verdict.finder == "whole (named)"
    assert verdict.runtime == str(detector.runtime)
    assert "auto: " in verdict.runtime
    assert {"source", "faces", "backbone", "total"} <= set(verdict.timings_ms)


def test_a_video_through_a_clip_model(models, clips):
    with Detector(models / "clip.dfe", faces="whole") as detector:
        verdict = detector.detect(clips / "clip.mp4")
    assert [round(score.end_s, 2) for score in verdict.scores] == [0.36, 0.56, 0.76, 0.96, 1.16, 1.36, 1.56, 1.76, 1.96]
    assert verdict.label == "real"


def test_a_still(models, clips):
    with Detector(models / "frame.dfe", faces="whole") as detector:
        verdict = detector.detect(clips / "still.png")
    assert verdict.label == "fake"
    assert verdict.fake_score == pytest.approx(score_of(220), abs=1e-5)


def test_whole_adds_no_margin_to_a_frame_that_is_a_crop(clips, tmp_path):
    bundle = bright_means_fake()
    spec = replace(bundle.spec, crop=replace(bundle.spec.crop, margin=2.0, fit="square"))
    write_bundle(replace(bundle, spec=spec), tmp_path / "wide.dfe")
    with Detector(tmp_path / "wide.dfe", faces="whole") as detector:
        assert detector.detect(clips / "still.png").fake_score == pytest.approx(score_of(220), abs=1e-5)


def test_a_still_is_no_evidence_for_a_clip_model(models, clips):
    with Detector(models / "clip.dfe", faces="whole") as detector:
        verdict = detector.detect(clips / "still.png")
    assert (verdict.label, verdict.fake_score) == ("insufficient_evidence", None)
    assert "a window of 10 crops takes 0.36 s" in verdict.reason


def test_a_folder_of_frames_is_a_clip(models, clips):
    with Detector(models / "clip.dfe", faces="whole") as detector:
        verdict = detector.detect(clips / "frames", fps=25)
    assert (verdict.label, verdict.frames_read) == ("fake", 20)


def test_no_face_is_no_verdict(models, clips):
    with Detector(models / "frame.dfe", faces="haar") as detector:
        verdict = detector.detect(clips / "clip.mp4")
    assert (verdict.label, verdict.fake_score, verdict.reason) == ("insufficient_evidence", None, "no face was found")


def test_the_same_input_gives_the_same_verdict(models, clips):
    with Detector(models / "clip.dfe", faces="whole") as detector:
        first, second = (detector.detect(clips / "clip.mp4") for _ in range(2))
    assert first.scores == second.scores


def test_a_session_says_what_the_file_says(models, clips):
    with Detector(models / "clip.dfe", faces="whole") as detector:
        wanted = detector.detect(clips / "clip.mp4")
        capture = cv2.VideoCapture(str(clips / "clip.mp4"))
        with detector.session() as session:
            for index in range(50):
                session.push(capture.read()[1], index / 25)
            found = session.finish()
        capture.release()
    assert [score.fake_score for score in found.scores] == [score.fake_score for score in wanted.scores]


def test_threads_share_a_detector(models, clips):
    results = []
    with Detector(models / "frame.dfe", faces="whole", threads=1) as detector:

        def work(name: str) -> None:
            results.append((name, round(detector.detect(clips / name, fps=25).fake_score, 1)))

        workers = [threading.Thread(target=work, args=(name,)) for name in ("clip.mp4", "still.png", "frames") * 3]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    dark, bright = round(score_of(60), 1), round(score_of(220), 1)
    assert sorted(results) == [("clip.mp4", dark)] * 3 + [("frames", bright)] * 3 + [("still.png", bright)] * 3


def test_a_closed_detector_says_so(models, clips):
    detector = Detector(models / "frame.dfe", faces="whole")
    detector.close()
    detector.close()
    with pytest.raises(InvalidInput, match="closed"):
        detector.detect(clips / "clip.mp4")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"faces": "eyes"}, "wanted auto or one of whole"),
        ({"faces": "whole:x.onnx"}, "takes no model"),
        ({"runtime": "abacus"}, "wanted auto or one of tensorrt, openvino, onnxruntime"),
        ({"precision": "int8"}, "this bundle has fp32"),
        ({"threads": 0}, "from 1 to"),
        ({"threads": "2"}, "whole number"),
        ({"threads": True}, "whole number"),
    ],
)
def test_an_option_that_does_not_exist_is_named(models, options, match):
    with pytest.raises(InvalidInput, match=match):
        Detector(models / "frame.dfe", **{"faces": "whole", **options})


def test_a_finder_whose_model_is_absent_says_how_to_get_it(models, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path))
    with pytest.raises(MissingDependency, match="face_detection_yunet"):
        Detector(models / "frame.dfe", faces="yunet")


def test_auto_says_which_finder_it_took(models, monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    with Detector(models / "frame.dfe") as detector:
        assert str(detector.finder).startswith("haar (auto: YuNet's model")


@pytest.mark.parametrize("name", ["absent.mp4", "rtsp://user:secret@camera/1"])
def test_what_cannot_be_read_is_a_source_error_without_credentials(models, name):
    with Detector(models / "frame.dfe", faces="whole") as detector, pytest.raises(SourceError) as error:
        detector.detect(name)
    assert "secret" not in str(error.value)


def test_a_model_that_is_no_bundle(tmp_path):
    (tmp_path / "model.dfe").write_bytes(b"not a bundle" * 100)
    with pytest.raises(BundleError, match="not a bundle"):
        Detector(tmp_path / "model.dfe")


def test_a_history_too_short_is_refused(models):
    with Detector(models / "frame.dfe", faces="whole") as detector, pytest.raises(InvalidInput, match="at least 100"):
        detector.session(history=5)


def test_a_file_can_be_streamed(models, clips):
    with Detector(models / "frame.dfe", faces="whole") as detector:
        scores = list(detector.stream(str(clips / "clip.mp4")))
    assert scores
    assert all(score.fake_score == pytest.approx(score_of(60), abs=CODEC_TOLERANCE) for score in scores)
