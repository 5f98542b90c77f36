"""`deepfake-edge build`: what it prints, how it ends, and what a user may type."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from deepfake_edge.bundle import write_bundle
from deepfake_edge.cli import main
from doubles.tensorrt import install


@pytest.fixture
def path(clip_bundle, tmp_path):
    write_bundle(clip_bundle, tmp_path / "model.dfe")
    return tmp_path / "model.dfe"


@pytest.fixture
def newest(monkeypatch, cuda_double):
    return install(monkeypatch, "11.4", cuda_double)


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["build", *(str(argument) for argument in arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_it_builds_the_first_precision_and_says_which_others_there_are(capsys, newest, path, cache):
    code, out, err = run(capsys, path, "--batch", "1,2,5")
    assert code == 0
    for words in ("bright fp32 for ", "TensorRT 11.4", "batches of 1,2,5", "backbone", "head", "built in", str(cache)):
        assert words in out
    assert "golden crops: outputs within" in out
    assert "bright also has fp16, int8: --precision fp16,int8" in err
    _, out, _ = run(capsys, path, "--batch", "1,2,5")
    assert out.count("was there") == 2
    assert len(newest.builds) == 2


def test_it_builds_what_is_named_and_a_failure_loses_only_itself(capsys, newest, path):
    newest.fail("build")
    code, out, err = run(capsys, path, "--precision", "fp16,int8", "--workspace", "2MiB", "--json")
    failed, built = json.loads(out)["results"]
    assert code == 1
    assert (failed["precision"], failed["error"]["type"]) == ("fp16", "InferenceError")
    assert "deepfake-edge: InferenceError: bright backbone (fp16)" in err
    assert [engine["part"] for engine in built["engines"]] == ["backbone", "head"]
    assert {engine["workspace_bytes"] for engine in built["engines"]} == {2 * 1024**2}
    assert built["engines"][0]["identity"]["precision"] == "int8"
    assert built["platform"]["tensorrt"].startswith("11.4")
    assert "Traceback" not in err


def test_a_terminal_sees_how_far_it_is_and_the_log_above_it(capsys, caplog, newest, path, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("deepfake_edge.cli.progress._APPEARS_AFTER_S", 0.0)
    monkeypatch.setattr("deepfake_edge.cli.progress._REDRAW_S", 0.0)
    monkeypatch.setattr("deepfake_edge.engines.monitor._LOOK_EVERY_S", 0.01)
    newest.slow_down(0.02)
    handler = logging.StreamHandler(sys.stderr)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    code, out, err = run(capsys, path)
    assert (code, "\x1b" in out) == (0, False)
    drawn = err.split("\r\x1b[K")
    assert any("building  bright backbone (fp32)  [" in line and "Timing Tactics" in line for line in drawn)
    # What is logged begins a line of its own, and nothing of the progress is left at the end.
    assert any(line.startswith("building bright head (fp32) for") for line in drawn)
    assert "%" not in drawn[-1]
    assert handler.filters == []


def test_it_lists_and_cleans(capsys, newest, path, cache, cuda_double):
    assert run(capsys, "--list")[:2] == (0, "")
    run(capsys, path)
    code, out, _ = run(capsys, "--list")
    assert (code, out.count("bright")) == (0, 2)
    engines = json.loads(run(capsys, "--list", "--json")[1])["engines"]
    assert [engine["part"] for engine in engines] == ["backbone", "head"]
    assert "removed 0 engines" in run(capsys, "--clean")[1]
    (damaged, _) = cache.glob("*.engine")
    damaged.write_bytes(b"x")
    assert "has 1 bytes where" in run(capsys, "--list")[1]
    assert json.loads(run(capsys, "--clean", "--json")[1]) == {"removed": [str(damaged)]}
    cuda_double.facts(driver_version="13.1")
    assert "removed 1 engines" in run(capsys, "--clean")[1]
    run(capsys, path)
    assert "removed 2 engines" in run(capsys, "--clean", "all")[1]
    assert {item.name for item in cache.iterdir()} == {"lock"}


def test_it_cleans_what_is_damaged_without_a_gpu(capsys, newest, path, cache, cuda_double):
    run(capsys, path)
    (damaged, _) = cache.glob("*.engine")
    damaged.write_bytes(b"x")
    cuda_double.fail("cuInit", 100, times=1000)
    code, out, err = run(capsys, "--clean")
    assert (code, "removed 1 engines" in out) == (0, True)
    assert "only damaged engines are removed" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "wanted one of a bundle, --list and --clean"),
        (("MODEL", "--list"), "wanted one of"),
        (("--list", "--clean"), "wanted one of"),
        (("MODEL", "--batch", "1,8"), "--batch: wanted three numbers"),
        (("MODEL", "--batch", "8,1,30"), "in that order"),
        (("MODEL", "--batch", "a,b,c"), "--batch: wanted three numbers"),
        (("MODEL", "--workspace", "1GB"), "--workspace: wanted a size such as 512MiB"),
        (("MODEL", "--workspace", "1KiB"), "at least 1MiB"),
        (("MODEL", "--precision", "fp8"), "precision: bright: this bundle has"),
        (("MODEL", "--precision", "bf16"), "bf16 is computed by openvino alone"),
        (("MODEL", "--precision", "fp32,fp8"), "precision: bright: this bundle has"),
        (("absent.dfe",), "absent.dfe"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, newest, path, arguments, said):
    code, out, err = run(capsys, *(path if argument == "MODEL" else argument for argument in arguments))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert said in err
    assert newest.builds == []


def test_no_such_gpu_is_one_line(capsys, newest, path):
    code, out, err = run(capsys, path, "--device", "7")
    assert (code, out) == (1, "")
    assert "deepfake-edge: InvalidInput: " in err


def test_a_machine_without_tensorrt_says_how_to_get_it(capsys, path, monkeypatch, cuda_double):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    code, _, err = run(capsys, path)
    assert code == 1
    assert "pip install 'deepfake-edge[tensorrt]'" in err
