"""Builds in processes of their own: killed in the middle, two at once, and on a disk that is full."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_edge.bundle import read_bundle, write_bundle
from deepfake_edge.engines.options import BatchProfile, BuildOptions
from deepfake_edge.engines.store import EngineStore
from deepfake_edge.gpu import build_engines
from doubles.tensorrt import install

_HERE = Path(__file__).resolve()
OPTIONS = BuildOptions(BatchProfile(1, 2, 5), workspace_bytes=1024**2)


@pytest.fixture
def path(clip_bundle, tmp_path):
    write_bundle(clip_bundle, tmp_path / "model.dfe")
    return tmp_path / "model.dfe"


@pytest.fixture
def newest(monkeypatch, cuda_double):
    return install(monkeypatch, "11.4", cuda_double)


def builder(*arguments: object) -> subprocess.Popen[str]:
    """The process; the cache folder is this test's."""
    environment = {**os.environ, "PYTHONPATH": str(_HERE.parents[2])}
    command = [sys.executable, str(_HERE.with_name("builder.py")), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def test_one_that_is_killed_in_the_middle_leaves_nothing_that_is_taken_for_an_engine(newest, path, cache):
    with builder(path, 5) as process:
        assert process.stdout.readline() == "building\n"
        process.send_signal(signal.SIGKILL)
    assert {item.name for item in cache.iterdir()} == {"lock"}
    assert EngineStore().list() == []
    # As if it had been killed a little later, while it wrote.
    (cache / ".deepfake-edge.half").write_bytes(b"half an engine")
    assert not build_engines(read_bundle(path), None, OPTIONS).up_to_date
    assert len(newest.builds) == 2
    assert not list(cache.glob(".*"))


def test_of_two_at_once_the_second_waits_and_builds_nothing(newest, path, caplog):
    caplog.set_level("INFO")
    with builder(path, 0.3) as process:
        assert process.stdout.readline() == "building\n"
        report = build_engines(read_bundle(path), None, OPTIONS)
        assert process.stdout.readline() == "built\n"
    assert report.up_to_date
    assert newest.builds == []
    assert "waiting for it" in caplog.text


def test_a_disk_that_is_full_is_one_clear_error_and_leaves_no_engine(path, cache):
    with builder(path, 0, 512) as process:
        said = process.stdout.read().splitlines()[-1]
    assert said.startswith("BundleError: ")
    assert "cannot be written: File too large" in said
    assert "DEEPFAKE_EDGE_CACHE" in said
    assert not [item for item in cache.iterdir() if item.suffix in (".engine", ".json") or item.name.startswith(".")]
