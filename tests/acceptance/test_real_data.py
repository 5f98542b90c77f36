"""What the product promises, on real models and real clips, through the command line that people use."""

from __future__ import annotations

import json
import time

import pytest

from deepfake_edge.cli import main

DAMAGED = ("truncated_intel_female.mp4",)
UNREADABLE = ("audio_only.mp4", "garbage.mp4", "truncated_no_moov_intel_female.mp4", "zero_bytes.mp4")
SECONDS_A_FILE = 5.0


@pytest.fixture(scope="module")
def meso4(data_dir, tmp_path_factory):
    pytest.importorskip("tensorflow")
    bundle = tmp_path_factory.mktemp("meso4") / "Meso4_DF.dfe"
    weights = data_dir / "models" / "mesonet" / "Meso4_DF.h5"
    assert main(["-q", "convert", str(weights), "--family", "meso4", "-o", str(bundle)]) == 0
    return bundle


@pytest.fixture(scope="module")
def manifest(data_dir):
    return json.loads((data_dir / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def detect(capsys, meso4, data_dir):
    def run(*arguments: object) -> list[dict]:
        finder = ["--faces", f"yunet:{data_dir / 'models' / 'face_detection_yunet_2023mar.onnx'}"]
        chosen = [] if "--faces" in arguments else finder
        capsys.readouterr()
        main(["-q", "detect", *map(str, arguments), "--model", str(meso4), "--json", "-", *chosen])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_mesonets_images_get_keras_scores(detect, data_dir, manifest):
    folder = data_dir / "models" / "mesonet" / "test_images"
    results = {item["input"].rpartition("/")[2]: item for item in detect(folder, "--faces", "whole")}
    for name, real in manifest["mesonet"]["keras_outputs"].items():
        assert results[name]["fake_score"] == pytest.approx(1 - real, abs=1e-3)
        assert results[name]["label"] == ("fake" if name.startswith("df") else "real")


def test_tracks_and_verdicts_of_every_clip(detect, data_dir, manifest):
    results = {item["input"].rpartition("/")[2]: item for item in detect(data_dir / "videos")}
    agreeing = 0
    for clip in manifest["videos"]:
        result = results[clip["file"].partition("/")[2]]
        lasting = [track for track in result["tracks"] if track["last_s"] - track["first_s"] >= 1.0]
        faces = clip["faces_over_time"][0][2]
        agreeing += len(lasting) == faces
        assert result["complete"], result
        assert result["frames_read"] == clip["frames"]
        assert (result["label"] == "insufficient_evidence") == (faces == 0), result
    assert agreeing >= 13


def test_every_odd_file_ends_in_a_verdict_or_a_typed_error(detect, data_dir, manifest):
    for entry in manifest["edge"]:
        start = time.perf_counter()
        (result,) = detect(data_dir / entry["file"])
        assert time.perf_counter() - start < SECONDS_A_FILE, entry["file"]
        name = entry["file"].partition("/")[2]
        if name in UNREADABLE:
            assert result["error"]["type"] == "SourceError"
            assert "\n" not in result["error"]["message"]
        else:
            assert result["complete"] == (name not in DAMAGED)
            assert result["label"] in ("real", "fake", "insufficient_evidence")


def test_variable_frame_rate_and_webm_count_as_read(detect, data_dir):
    for name, frames in (("vfr_two_tilt_intel.mp4", 26), ("vp9_two_tilt_intel.webm", 56)):
        (result,) = detect(data_dir / "edge" / name)
        assert (result["frames_read"], len(result["tracks"])) == (frames, 2)
