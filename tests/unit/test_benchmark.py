"""`deepfake-edge benchmark`: its figures, what becomes of processes that fail, and that none is left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deepfake_edge.benchmarks.latency import Options, measure, pairs_of
from deepfake_edge.benchmarks.process import Contender, times_ms
from deepfake_edge.bundle import read_bundle, write_bundle
from deepfake_edge.cli import main
from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency
from deepfake_edge.runtime_choice import RUNTIMES, precisions_of
from fakes import bright_means_fake

FAST = Options(batches=(2,), seconds=0.03)
CHILD = """
import os, sys, time
from deepfake_edge.benchmarks.process import serve
from deepfake_edge.errors import MissingDependency

def die(how):
    print("I print where answers go")
    if how == "code":
        sys.exit("some last words")
    if how == "typed":
        raise MissingDependency("not here")
    if how == "wrong":
        raise ZeroDivisionError("a slip")
    if how == "signal":
        os.abort()
    return {"how": how}

def main():
    serve({"die": die})
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    bundle = bright_means_fake(frames=4, sample_fps=25.0)
    write_bundle(bundle, folder / "clip.dfe")
    write_bundle(bright_means_fake(), folder / "frame.dfe")
    write_bundle(bright_means_fake(frames=4, sample_fps=25.0, fused=True), folder / "fused.dfe")
    variant = bundle.variants["fp32"]
    untrue = dataclasses.replace(
        variant, golden=dataclasses.replace(variant.golden, outputs=variant.golden.outputs / 2)
    )
    write_bundle(dataclasses.replace(bundle, variants={"fp32": untrue}), folder / "untrue.dfe")
    members = [{"bundle": name, "weight": 1} for name in ("clip.dfe", "frame.dfe")]
    (folder / "ensemble.json").write_text(json.dumps({"models": members}))
    return folder


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = main(["-q", "benchmark", *map(str, arguments), "--seconds", "0.03", "--batch", "2"])
    out, err = capsys.readouterr()
    return code, out, err


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_json_is_the_documented(capsys, place):
    code, out, _ = run(capsys, place / "clip.dfe", "--json")
    found = json.loads(out)
    assert code == 0
    assert set(found) == {"name", "sha256", "machine", "threads", "seconds", "rows", "recommended"}
    assert set(found["machine"]) == {"system", "logical_cpus", "load_average"}
    here = [(runtime, precision) for runtime in RUNTIMES for precision in precisions_of(runtime)]
    wanted = [pair for pair in here if pair[1] in ("fp32", "bf16")]
    assert [(row["runtime"], row["precision"]) for row in found["rows"]] == wanted
    for row in found["rows"]:
        assert set(row) == {
            "runtime", "precision", "variant", "passed", "replay", "load_s", "memory_bytes", "batches", "best_batch",
            "head",
        }  # fmt: skip
        assert (row["variant"], row["passed"]) == ("fp32", True)
        assert 0 < row["load_s"] < 60
        assert 1e6 < row["memory_bytes"]["resident"] <= row["memory_bytes"]["peak"] < 1e9
        assert [item["batch"] for item in row["batches"]] == [1, 2]
        for item in (*row["batches"], row["head"]):
            assert item["calls"] >= 9
            assert 0 < item["p50_ms"] <= item["p90_ms"] <= item["p99_ms"]
            assert item["crops_per_s"] == pytest.approx(item["batch"] * 1000 / item["p50_ms"])
    taken = found["recommended"]
    assert taken["options"] == f"--runtime {taken['runtime']} --precision {taken['precision']}"
    assert (taken["runtime"], taken["precision"]) in here


def test_the_table_names_the_options_to_use(capsys, place):
    code, out, _ = run(capsys, place / "frame.dfe", "--runtime", "onnxruntime", "--threads", "1")
    assert code == 0
    assert "recommended: --runtime onnxruntime --precision fp32 --threads 1" in out
    (line,) = [line for line in out.splitlines() if line.startswith("onnxruntime ")]
    assert line.endswith("passed")
    assert line.split()[2] == "1"
    assert line.split()[7] == "-", "a per-frame model has no head"


def test_a_fused_clip_network_is_measured_by_the_window(place):
    bundle = read_bundle(place / "fused.dfe")
    (row,) = measure(place / "fused.dfe", bundle, [("onnxruntime", "fp32")], FAST)
    assert (row.passed, row.head, [calls.batch for calls in row.calls]) == (True, None, [1, 2])


def test_what_does_not_say_what_it_said_is_not_recommended(capsys, place):
    code, out, _ = run(capsys, place / "untrue.dfe", "--runtime", "onnxruntime")
    assert code == 1
    assert "FAILED" in out
    assert "nothing to recommend" in out


def test_an_ensemble_is_refused_with_what_to_do(capsys, place):
    code, _, err = run(capsys, place / "ensemble.json")
    assert code == 1
    assert f"deepfake-edge benchmark {place / 'clip.dfe'}" in err
    assert f"deepfake-edge benchmark {place / 'frame.dfe'}" in err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--runtime", "abacus"),
        ("--precision", "int8"),
        ("--batch", "0"),
        ("--seconds", "-1"),
        ("--seconds", "nan"),
        ("--threads", "0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(capsys, place, option, value):
    code = main(["-q", "benchmark", str(place / "clip.dfe"), option, value])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("deepfake-edge: InvalidInput: ")


def test_names_without_anything_to_measure_are_told_with_what_there_is(place):
    bundle = read_bundle(place / "clip.dfe")
    with pytest.raises(InvalidInput, match=r"nothing to measure for int8; this bundle runs here on .*onnxruntime fp32"):
        pairs_of(bundle, ["onnxruntime"], ["fp32", "int8"])


def test_a_process_that_dies_is_told_in_its_row_and_the_others_go_on(place):
    def kill_the_first() -> None:
        if not killed:
            killed.append(children(os.getpid())[-2])
            os.kill(killed[0], signal.SIGKILL)

    killed: list[int] = []
    bundle = read_bundle(place / "clip.dfe")
    options = dataclasses.replace(FAST, each_round=kill_the_first)
    dead, alive = measure(place / "clip.dfe", bundle, [("onnxruntime", "fp32")] * 2, options)
    assert (dead.passed, alive.passed) == (False, True)
    assert "was killed" in str(dead.error)
    assert "killed" in json.dumps(dead.to_json())


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("typed", MissingDependency, "^not here$"),
        ("code", InferenceError, "tested: its process ended with code 1: some last words"),
        ("wrong", InferenceError, "ZeroDivisionError: a slip"),
        ("signal", InferenceError, "was ended by signal 6"),
    ],
)
def test_however_a_process_ends_is_one_typed_line(tmp_path, monkeypatch, how, kind, said):
    (tmp_path / "child_for_benchmark.py").write_text(CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    with Contender("child_for_benchmark", "tested") as process:
        assert process.ask("die", how="not at all") == {"how": "not at all"}
        with pytest.raises(kind, match=said) as caught:
            process.ask("die", how=how)
        assert "\n" not in str(caught.value)
        if how != "typed":
            with pytest.raises(InferenceError):
                process.ask("die", how="again")


@pytest.mark.parametrize("runtime", [name for name in RUNTIMES if precisions_of(name)])
def test_a_process_that_waits_takes_no_processor_time(place, runtime):
    given = {"bundle": str(place / "clip.dfe"), "runtime": runtime, "precision": "fp32", "threads": 2}
    with Contender("deepfake_edge.benchmarks.measured_bundle", runtime) as process:
        process.ask("load", **given)
        process.ask("calls", batch=2, seconds=0.1)
        time.sleep(0.3)
        before = cpu_s(process.pid)
        time.sleep(0.5)
        assert cpu_s(process.pid) - before <= 0.02


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind(place, number):
    # A job in the background starts with SIGINT ignored, and what it starts inherits that.
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"from deepfake_edge.cli import main; raise SystemExit(main(['benchmark', {str(place / 'clip.dfe')!r}]))"
    )
    parent = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(left := children(parent.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    parent.send_signal(number)
    _, err = parent.communicate(timeout=60)
    assert left
    assert b"Traceback" not in err
    assert parent.returncode == (130 if number != signal.SIGKILL else -signal.SIGKILL)
    while any(Path(f"/proc/{pid}").exists() for pid in left) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]


def test_the_light_installation_is_enough(place, tmp_path):
    for heavy in ("tensorflow", "keras", "onnx", "tf2onnx", "h5py", "matplotlib", "openvino"):
        (tmp_path / f"{heavy}.py").write_text("raise ImportError('not in the light installation')")
    start = (
        "import sys; from deepfake_edge.cli import main; "
        f"code = main(['-q', 'benchmark', {str(place / 'frame.dfe')!r}, '--seconds', '0.03']); "
        "sys.exit(code or any(name.startswith('deepfake_edge.training') for name in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", start], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "recommended: --runtime onnxruntime --precision fp32" in done.stdout


def test_the_first_call_is_not_timed_and_slow_calls_are_few():
    calls = [0.3, 0.0, 0.0, 0.0]
    times = times_ms(lambda: time.sleep(calls.pop(0)), seconds=0.0)
    assert (calls, len(times)) == ([], 3)
    assert max(times) < 100
