"""The cache of engines: what is found again is what was proved, and nothing else is ever loaded."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from deepfake_edge.engines.identity import EngineIdentity, Platform
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.engines.sidecar import Sidecar
from deepfake_edge.engines.store import EngineStore
from deepfake_edge.errors import BundleError, EngineMismatch

ORIN = Platform("10.3.0", "8.7", "Orin", 8, "12.6")
IDENTITY = EngineIdentity("a" * 64, "fp16", ORIN)
PLAN = bytes(range(256)) * 8


def sidecar(plan: bytes = PLAN, identity: EngineIdentity = IDENTITY, **changes) -> Sidecar:
    made = Sidecar(
        identity=identity,
        part="backbone",
        bundle="model",
        bundle_sha256="b" * 64,
        batch=BatchProfile(1, 8, 16),
        workspace_bytes=1024**3,
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        build_s=12.5,
        gate={"own_max_diff": 1e-6},
        made_with="0.1.0",
    )
    return replace(made, **changes)


@pytest.fixture
def store(tmp_path):
    return EngineStore(tmp_path / "engines")


@pytest.fixture
def kept(store):
    store.folder.mkdir()
    return store.put(PLAN, sidecar())


def test_what_was_put_is_found_and_is_a_plain_plan(store, kept):
    found = store.find(IDENTITY)
    assert (found.plan, found.sidecar) == (PLAN, sidecar())
    assert kept.read_bytes() == PLAN
    assert [entry.sidecar for entry in store.list()] == [sidecar()]


def test_nothing_is_found_where_nothing_was_put(store):
    assert store.find(IDENTITY) is None
    assert store.list() == []
    assert "no engine was built for it" in store.why_not(IDENTITY)
    assert "deepfake-edge build BUNDLE --precision fp16" in store.why_not(IDENTITY)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tensorrt": "10.7.0"}, "with TensorRT 10.3.0, this is 10.7.0"),
        ({"driver": "13.0"}, "with a driver for CUDA 12.6, this is one for 13.0"),
        ({"compute_capability": "11.0"}, "this is Orin (compute capability 11.0, 8 multiprocessors)"),
        ({"device": "Thor"}, "for Orin (compute capability 8.7, 8 multiprocessors), this is Thor"),
        ({"multiprocessors": 4}, "this is Orin (compute capability 8.7, 4 multiprocessors)"),
        ({"recipe": 99}, "by recipe 1 of deepfake-edge, this one has recipe 99"),
    ],
)
def test_whatever_makes_an_engine_valid_makes_another_engine(store, kept, change, said):
    here = replace(IDENTITY, platform=replace(ORIN, **change))
    assert store.find(here) is None
    assert said in store.why_not(here)
    assert "deepfake-edge build" in store.why_not(here)


@pytest.mark.parametrize("change", [{"graph_sha256": "c" * 64}, {"precision": "int8"}])
def test_another_graph_or_precision_is_another_engine(store, kept, change):
    here = replace(IDENTITY, **change)
    assert store.find(here) is None
    assert "no engine was built for it" in store.why_not(here)


def cut(path):
    path.write_bytes(PLAN[:-1])


def flip(path):
    path.write_bytes(PLAN[:100] + b"\x00" + PLAN[101:])


def no_sidecar(path):
    path.with_suffix(".json").unlink()


def no_plan(path):
    path.unlink()


def half_a_sidecar(path):
    text = path.with_suffix(".json").read_bytes()
    path.with_suffix(".json").write_bytes(text[: len(text) // 2])


def other_types(path):
    table = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**table, "plan_bytes": "many"}))


def another_format(path):
    table = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**table, "format": 2}))


def deep(path):
    path.with_suffix(".json").write_bytes(b"[" * 60_000)


def another_engine(path):
    changed = sidecar(identity=replace(IDENTITY, precision="int8"))
    path.with_suffix(".json").write_bytes(changed.to_bytes())


DAMAGES = [cut, flip, no_sidecar, no_plan, half_a_sidecar, other_types, another_format, deep, another_engine]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_nothing_vouches_for_is_never_loaded_and_cleaned(store, kept, damage):
    damage(kept)
    with pytest.raises(EngineMismatch, match="deepfake-edge build"):
        store.find(IDENTITY)
    assert store.clean() == (kept,)
    assert store.find(IDENTITY) is None
    assert store.list() == []


def test_clean_keeps_what_is_good_and_removes_what_newer_software_replaced(store, kept):
    old = sidecar(identity=replace(IDENTITY, platform=replace(ORIN, tensorrt="8.6.2")))
    other_gpu = sidecar(identity=replace(IDENTITY, platform=replace(ORIN, device="Thor", compute_capability="11.0")))
    old_path, other_path = store.put(PLAN, old), store.put(PLAN, other_gpu)
    assert store.clean() == ()
    assert store.clean(ORIN) == (old_path,)
    assert {entry.path for entry in store.list()} == {kept, other_path}
    store.keep_timing(ORIN, b"known")
    assert set(store.clean(everything=True)) == {kept, other_path}
    assert store.timing(ORIN) == b""


def test_an_engine_is_replaced_by_a_newer_one(store, kept):
    store.put(b"another plan", sidecar(b"another plan"))
    assert store.find(IDENTITY).plan == b"another plan"


@pytest.mark.parametrize("failing", ["plan", "sidecar"])
def test_a_full_disk_is_one_clear_error_and_leaves_no_engine(store, kept, monkeypatch, failing):
    calls = []
    real = os.fsync

    def full(handle: int) -> None:
        calls.append(handle)
        # A written file and its folder are synced: two calls.
        if len(calls) == (1 if failing == "plan" else 3):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match=r"No space left on device.*DEEPFAKE_EDGE_CACHE"):
        store.put(b"another plan", sidecar(b"another plan"))
    monkeypatch.undo()
    assert store.find(IDENTITY) is None
    assert not list(store.folder.iterdir())


def test_a_folder_that_cannot_be_made_is_found_before_a_build(tmp_path):
    (tmp_path / "file").write_text("x")
    store = EngineStore(tmp_path / "file" / "engines")
    with pytest.raises(BundleError, match=r"cannot be written.*DEEPFAKE_EDGE_CACHE"):
        store.check_room(1)
    with pytest.raises(BundleError, match="cannot be written"), store.lock():
        pass


def test_a_read_only_folder_is_found_before_a_build(store, monkeypatch):
    def refused(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("deepfake_edge.engines.store.tempfile.TemporaryFile", refused)
    with pytest.raises(BundleError, match="Read-only file system"):
        store.check_room(1)


def test_too_little_room_is_found_before_a_build(store):
    store.check_room(1)
    with pytest.raises(BundleError, match=r"an engine may need .* MiB are free.*--clean"):
        store.check_room(1 << 60)


def test_what_kernels_took_is_kept_for_its_gpu_and_version_only(store, caplog):
    store.folder.mkdir()
    store.keep_timing(ORIN, b"timings")
    assert store.timing(ORIN) == b"timings"
    assert store.timing(replace(ORIN, driver="13.0")) == b"timings"
    assert store.timing(replace(ORIN, tensorrt="10.7.0")) == b""
    (path,) = store.folder.glob("timing-*")
    path.write_bytes(path.read_bytes()[:-1])
    assert store.timing(ORIN) == b""
    assert "is damaged" in caplog.text


def test_timings_that_cannot_be_kept_cost_no_engine(store, caplog):
    store.keep_timing(ORIN, b"timings")
    assert "cannot be kept" in caplog.text


def test_a_second_builder_waits_and_says_so(store, caplog):
    caplog.set_level("INFO")
    order = []

    def second():
        with store.lock():
            order.append("second")

    with store.lock():
        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 10
        while "waiting for it" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


HOLDER = """
import sys, time
from pathlib import Path
from deepfake_edge.engines.store import EngineStore
store = EngineStore(Path(sys.argv[1]))
with store.lock():
    (store.folder / ".deepfake-edge.half").write_bytes(b"half an engine")
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_killed_builder_leaves_neither_a_lock_nor_an_engine(store):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(store.folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        holder.send_signal(signal.SIGKILL)
    with store.lock():
        store.remove_leftovers()
        assert store.list() == []
    assert [item.name for item in store.folder.iterdir()] == ["lock"]
