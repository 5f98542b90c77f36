"""The command line keeps its word: exit codes, one line for an error, results on stdout, JSON as documented."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest

from deepfake_edge.bundle import write_bundle
from deepfake_edge.cli import main
from fakes import bright_means_fake


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    write_bundle(bright_means_fake(), folder / "model.dfe")
    write_bundle(
        bright_means_fake(frames=4, sample_fps=25.0, name="clip", fused=True, frame_outputs="frame_outputs"),
        folder / "clip.dfe",
    )
    members = [{"bundle": "model.dfe", "weight": 1}, {"bundle": "clip.dfe", "weight": 3}]
    (folder / "ensemble.json").write_text(json.dumps({"models": members, "threshold": 0.6}))
    for name, level in (("dark", 20), ("bright", 230)):
        cv2.imwrite(str(folder / f"{name}.png"), np.full((48, 64, 3), level, np.uint8))
    (folder / "garbage.mp4").write_bytes(bytes(range(256)) * 16)
    return folder


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def detect(capsys, place, *arguments: object) -> tuple[int, str, str]:
    return run(capsys, "-q", "detect", *arguments, "--model", place / "model.dfe", "--faces", "whole")


def test_detect_prints_a_table(capsys, place):
    code, out, err = detect(capsys, place, place / "dark.png", place / "bright.png")
    assert code == 0
    rows = [line.split() for line in out.splitlines()[2:]]
    assert [row[1] for row in rows] == ["real", "fake"]
    assert err == ""


def test_detect_json_is_the_contracts(capsys, place):
    code, out, _ = detect(capsys, place, place / "bright.png", "--json", "-")
    assert code == 0
    result = json.loads(out)
    assert set(result) == {
        "input", "label", "fake_score", "reason", "complete", "frames_read", "faces_seen", "duration_s", "tracks",
        "model", "runtime", "faces", "timings_ms",
    }  # fmt: skip
    assert result["label"] == "fake"
    assert set(result["model"]) == {"name", "sha256", "precision", "variant"}
    (track,) = result["tracks"]
    assert set(track) == {"id", "first_s", "last_s", "fake_score", "reason", "windows"}
    assert set(track["windows"][0]) == {"start_s", "end_s", "fake_score"}


def test_results_name_the_networks_that_gave_the_precision(capsys, place, tmp_path):
    bundle = bright_means_fake()
    fp32 = bundle.variants["fp32"]
    write_bundle(replace(bundle, variants={"int8": fp32, "int8-unsigned": fp32}), tmp_path / "m.dfe")
    options = ("--faces", "whole", "--runtime", "onnxruntime", "--json", "-", "--model", tmp_path / "m.dfe")
    _, out, _ = run(capsys, "-q", "detect", place / "bright.png", *options)
    model = json.loads(out)["model"]
    assert (model["precision"], model["variant"]) == ("int8", "int8-unsigned")


def test_a_bad_input_is_reported_and_the_rest_goes_on(capsys, place):
    code, out, _ = detect(capsys, place, place / "garbage.mp4", place / "absent.mp4", place / "dark.png", "--json", "-")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [line.get("error", {}).get("type") for line in lines] == ["SourceError", "SourceError", None]
    assert lines[2]["label"] == "real"


def test_a_folder_is_every_file_in_it(capsys, place):
    code, out, _ = detect(capsys, place, place, "--json", "-")
    assert [json.loads(line)["input"].rpartition("/")[2] for line in out.splitlines()] == [
        "bright.png", "dark.png", "garbage.mp4",
    ]  # fmt: skip
    assert code == 1


def test_a_folder_with_fps_is_one_clip(capsys, place, tmp_path):
    for index in range(30):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((48, 64, 3), 230, np.uint8))
    _, out, _ = detect(capsys, place, tmp_path, "--fps", 25, "--json", "-")
    result = json.loads(out)
    assert (result["label"], result["frames_read"], result["duration_s"]) == ("fake", 30, 1.16)


def test_a_pattern_is_what_matches(capsys, place):
    _, out, _ = detect(capsys, place, place / "d*.png", "--json", "-")
    assert len(out.splitlines()) == 1


@pytest.mark.parametrize("name", ["*.nothing", "empty"])
def test_nothing_to_read_is_an_error(capsys, place, tmp_path, name):
    (tmp_path / "empty").mkdir()
    code, out, _ = detect(capsys, place, tmp_path / name, place / "dark.png", "--json", "-")
    first, second = map(json.loads, out.splitlines())
    assert code == 1
    assert first["error"]["type"] == "InvalidInput"
    assert second["label"] == "real"


def test_json_to_a_file_leaves_the_table_on_stdout(capsys, place, tmp_path):
    _, out, _ = detect(capsys, place, place / "dark.png", "--json", tmp_path / "out.jsonl")
    assert json.loads((tmp_path / "out.jsonl").read_text())["label"] == "real"
    assert "real" in out


def test_several_inputs_are_annotated_into_a_folder(capsys, place, tmp_path):
    code, _, _ = detect(capsys, place, place / "dark.png", place / "bright.png", "--annotate", tmp_path / "seen")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == ["bright.mp4", "dark.mp4"]


def test_the_input_itself_is_never_annotated_over(capsys, place, tmp_path):
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (64, 48))
    for _ in range(5):
        writer.write(np.full((48, 64, 3), 99, np.uint8))
    writer.release()
    before = clip.read_bytes()
    for option in ("--annotate", "--json"):
        code, _, err = detect(capsys, place, clip, option, clip)
        assert (code, clip.read_bytes() == before) == (1, True)
        assert "by this very command" in err


def test_the_model_is_never_written_over(capsys, place):
    model = place / "model.dfe"
    before = model.read_bytes()
    code, _, err = detect(capsys, place, place / "dark.png", "--json", model)
    assert (code, "by this very command" in err) == (1, True)
    code, _, err = run(capsys, "watch", place / "garbage.mp4", "--model", model, "--annotate", model)
    assert (code, "by this very command" in err) == (1, True)
    assert model.read_bytes() == before


def test_annotations_in_the_inputs_folder_replace_no_input(capsys, place, tmp_path):
    names = [tmp_path / name for name in ("a.png", "1-a.mp4", "a.jpg")]
    for name in names:
        name.write_bytes((place / "dark.png").read_bytes())
    code, _, err = detect(capsys, place, *names, "--annotate", tmp_path)
    assert (code, "by this very command" in err) == (1, True)


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0byte", "\x1b[2J.mp4", "not-utf8-\udcff.mp4"])
def test_an_odd_name_is_a_typed_error_without_control_characters(capsys, place, name):
    code, out, err = detect(capsys, place, name)
    assert code == 1
    assert "SourceError" in out + err or "InvalidInput" in out + err
    assert "\x1b" not in out + err


def test_a_folder_for_annotations_that_cannot_be_made_is_a_typed_error(capsys, place, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    code, _, err = detect(capsys, place, place / "dark.png", place / "bright.png", "--annotate", tmp_path / "file")
    assert (code, "cannot be made" in err) == (1, True)


def test_a_termination_removes_what_is_half_written(place, tmp_path):
    script = "import sys; from deepfake_edge.cli import main; sys.exit(main())"
    for index in range(2000):
        (tmp_path / f"{index}.png").symlink_to(place / "dark.png")
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-c", script, "-q", "detect", tmp_path, "--fps", "25", "--faces", "whole"]
    command += ["--model", place / "model.dfe", "--annotate", tmp_path / "out" / "seen.mp4"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 20
    # A trial of the encoder comes first. OpenCV's constructor does not survive a signal, so that is waited for as well.
    while not any(part.stat().st_size for part in (tmp_path / "out").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert b"Traceback" not in err
    assert not list((tmp_path / "out").iterdir())


def test_an_empty_name_is_an_error(capsys, place):
    code, out, _ = detect(capsys, place, "")
    assert (code, "SourceError" in out) == (1, True)


def test_a_typed_error_is_one_line_and_exit_1(capsys, tmp_path):
    code, out, err = run(capsys, "detect", "x.mp4", "--model", tmp_path / "absent.dfe")
    assert (code, out) == (1, "")
    assert err.startswith("deepfake-edge: BundleError: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["detect"], ["detect", "x.mp4"], ["verify"]])
def test_wrong_usage_is_exit_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_inspect_says_which_output_is_fake(capsys, place):
    code, out, _ = run(capsys, "inspect", place / "model.dfe")
    assert code == 0
    assert "the single output (sigmoid of fake)" in out


def test_inspect_json(capsys, place):
    _, out, _ = run(capsys, "inspect", "--json", place / "model.dfe")
    assert json.loads(out)["spec"]["classes"] == ["fake"]


def test_verify_passes_on_an_honest_bundle(capsys, place):
    code, out, _ = run(capsys, "verify", "--json", place / "model.dfe")
    assert (code, json.loads(out)["passed"]) == (0, True)


def test_verify_fails_where_the_networks_say_something_else(capsys, tmp_path):
    bundle = bright_means_fake()
    bundle.golden.outputs[1] += 0.001
    write_bundle(bundle, tmp_path / "changed.dfe")
    code, out, _ = run(capsys, "verify", "--json", tmp_path / "changed.dfe")
    result = json.loads(out)
    assert (code, result["passed"]) == (1, False)
    (figures,) = result["results"]
    assert figures["own_max_diff"] == pytest.approx(0.001, abs=1e-5)
    assert (figures["precision"], figures["variant"], figures["flips"]) == ("fp32", "fp32", 0)


def test_doctor_says_what_is_here(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    for word in ("onnxruntime", "haar", "yunet", "FFmpeg", "auto takes", "native kernels"):
        assert word in out


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("deepfake-edge 0.")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A second of bright grey."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (64, 48))
    for _ in range(25):
        writer.write(np.full((48, 64, 3), 230, np.uint8))
    writer.release()
    return path


def test_detect_with_an_ensemble_names_its_members(capsys, place, clip):
    command = ("-q", "detect", clip, "--faces", "whole", "--json", "-", "--model", place / "ensemble.json")
    code, out, _ = run(capsys, *command)
    result = json.loads(out)
    assert (code, result["label"]) == (0, "fake")
    assert set(result["model"]) == {"name", "sha256", "precision", "variant", "members"}
    members = result["model"]["members"]
    assert [(member["name"], member["weight"]) for member in members] == [("bright", 0.25), ("clip", 0.75)]
    assert set(members[0]) == {"name", "sha256", "precision", "variant", "weight"}
    (track,) = result["tracks"]
    assert set(track["windows"][0]) == {"start_s", "end_s", "fake_score"}


def test_frame_scores_are_listed_where_the_model_gives_them(capsys, place, clip, tmp_path):
    _, out, _ = run(capsys, "-q", "detect", clip, "--faces", "whole", "--json", "-", "--model", place / "clip.dfe")
    (track,) = json.loads(out)["tracks"]
    assert len(track["windows"]) == 22
    for window in track["windows"]:
        assert len(window["frame_scores"]) == 4
        assert min(window["frame_scores"]) <= window["fake_score"] <= max(window["frame_scores"])
    lines = tmp_path / "lines.jsonl"
    command = ("watch", clip, "--faces", "whole", "--no-window", "--json", lines, "--model", place / "clip.dfe")
    assert run(capsys, *command)[0] == 0
    assert all(len(json.loads(line)["frame_scores"]) == 4 for line in lines.read_text().splitlines()[:-1])


def test_no_file_of_an_ensemble_is_written_over(capsys, place, clip):
    for name in ("ensemble.json", "clip.dfe"):
        before = (place / name).read_bytes()
        code, _, err = run(capsys, "detect", clip, "--model", place / "ensemble.json", "--json", place / name)
        assert (code, "by this very command" in err) == (1, True)
        assert (place / name).read_bytes() == before


def test_inspect_says_what_a_fused_network_costs(capsys, place):
    _, out, _ = run(capsys, "inspect", place / "clip.dfe")
    assert "one fused clip network" in out
    assert "every window runs the whole network" in out
    assert "scores each frame of a window too" in out
    _, out, _ = run(capsys, "inspect", "--json", place / "clip.dfe")
    variant = json.loads(out)["variants"]["fp32"]
    assert (variant["fused"], variant["frame_scores"]) == (True, True)


@pytest.mark.parametrize(
    "layers",
    [
        {"put_back": [{}, 3, {"layers": [1], "loss_alone": [], "multiply_adds": "x"}]},
        {"put_back": 5, "int8": [1, {}, None]},
        {"int8": ["\x1b[2Jevil"], "\x1b[31m": "\x1b[0m", "calibration": {"\x1b": [1]}},
        {"int8": [["\x1b[2J"]] * 50},
    ],
)
def test_inspect_shows_whatever_a_bundle_says_of_its_layers(capsys, tmp_path, layers):
    bundle = bright_means_fake()
    odd = replace(bundle, variants={"fp32": replace(bundle.variants["fp32"], layers=layers)})
    write_bundle(odd, tmp_path / "odd.dfe")
    code, out, _ = run(capsys, "inspect", tmp_path / "odd.dfe")
    assert (code, "\x1b" in out) == (0, False)


def test_inspect_shows_every_member_of_an_ensemble(capsys, place):
    code, out, _ = run(capsys, "inspect", place / "ensemble.json")
    assert code == 0
    for words in ("weighted mean of 2, at or above 0.6", "weight 0.25", "model.dfe", "weight 0.75", "clip.dfe"):
        assert words in out
    _, out, _ = run(capsys, "inspect", "--json", place / "ensemble.json")
    result = json.loads(out)
    assert (result["threshold"], [member["weight"] for member in result["members"]]) == (0.6, [0.25, 0.75])


def test_verify_replays_every_member_of_an_ensemble(capsys, place, tmp_path):
    code, out, _ = run(capsys, "verify", "--json", place / "ensemble.json")
    result = json.loads(out)
    assert (code, result["passed"], len(result["results"])) == (0, True, 2)
    assert [member["features_max_diff"] is None for member in result["results"]] == [False, True]
    bundle = bright_means_fake()
    bundle.golden.outputs[1] += 0.001
    write_bundle(bundle, tmp_path / "changed.dfe")
    members = [{"bundle": str(place / "clip.dfe"), "weight": 1}, {"bundle": "changed.dfe", "weight": 1}]
    (tmp_path / "ensemble.json").write_text(json.dumps({"models": members}))
    code, out, _ = run(capsys, "verify", tmp_path / "ensemble.json")
    assert (code, "True" in out, "False" in out) == (1, True, True)


def test_an_ensemble_file_that_is_wrong_is_one_line(capsys, place, tmp_path):
    (tmp_path / "ensemble.json").write_text('{"models": [{"bundle": "a.dfe", "weight": -1}]}')
    for command in (("detect", place / "dark.png", "--model"), ("inspect",), ("verify",)):
        code, out, err = run(capsys, *command, tmp_path / "ensemble.json")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert "models[0].weight: wanted a number" in err
