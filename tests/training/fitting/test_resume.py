"""A run that was killed or stopped comes to what it would have come to."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.feeding.options import Augmentation
from deepfake_edge.training.fitting import fit, resume
from deepfake_edge.training.fitting.folder import RunFolder
from deepfake_edge.training.fitting.state import load_variables, read_state
from deepfake_edge.training.preparing.prepared import read_prepared
from training.fitting.small import CNN, Death, Killer, Told, fed, history, options, weights

TESTS = Path(__file__).resolve().parents[2]
# Two stages of two epochs of two steps, with every source of chance: dropout, augmentation, self-blends.
STAGES = ("head:2", "all:2")


def whole(**changes):
    return options(
        CNN, *STAGES, feed=fed(self_blended=0.5, augment=Augmentation(video=0.0)), checkpoint_every=1, **changes
    )


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "uninterrupted"
    fit(prepared, run, whole())
    return run


def assert_same(run, other):
    assert history(run) == history(other)
    pairs = list(zip(weights(run), weights(other), strict=True))
    assert all(np.array_equal(one, another) for one, another in pairs)
    states = [np.load(each / "checkpoint" / "state.npz") for each in (run, other)]
    keys = [key for key in states[0].files if key != "state"]
    assert len(keys) > len(pairs)
    assert all(np.array_equal(states[0][key], states[1][key]) for key in keys)


@pytest.mark.slow
def test_a_run_is_the_same_twice_and_another_with_another_seed(prepared, uninterrupted, tmp_path):
    fit(prepared, tmp_path / "again", whole())
    assert_same(tmp_path / "again", uninterrupted)
    fit(prepared, tmp_path / "other", options(CNN, *STAGES, feed=fed(seed=1)))
    assert not np.array_equal(weights(tmp_path / "other")[0], weights(uninterrupted)[0])


# 1: before any checkpoint; 2: before an epoch's end; 3, 7: in the middle of one; 4, 5: around a stage's end.
@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 7])
def test_dead_after_a_step_and_resumed(prepared, uninterrupted, tmp_path, steps):
    run = tmp_path / "run"
    with pytest.raises(Death):
        fit(prepared, run, whole(), Killer(steps))
    told = Told()
    outcome = resume(run, told)
    assert_same(run, uninterrupted)
    assert len(told.moments) < 8 or steps == 1
    assert outcome.epochs == 4
    assert outcome.spent_s > 0


# The file, how often it was written, and the steps that are not in the checkpoint then. An epoch has two checkpoints:
# before validation and after it.
FILES = [("state.npz", 1, 6), ("best.npz", 1, 6), ("best.keras", 1, 6), ("events", 1, 6), ("done", 1, 0)]


@pytest.mark.parametrize(
    ("name", "writes", "steps_left"),
    [("state.npz", 2, 6), *(pytest.param(*case, marks=pytest.mark.slow) for case in FILES)],
)
def test_dead_after_a_file_at_an_epochs_end(prepared, uninterrupted, tmp_path, monkeypatch, name, writes, steps_left):
    run, write, left = tmp_path / "run", RunFolder.write, [writes]

    def die_after(folder, path, data):
        if name == "done" == path.stem:
            raise Death
        write(folder, path, data)
        left[0] -= path.name.startswith(name)
        if not left[0]:
            raise Death

    monkeypatch.setattr(RunFolder, "write", die_after)
    asked = replace(whole(), checkpoint_every=200)
    with pytest.raises(Death):
        fit(prepared, run, asked)
    monkeypatch.undo()
    told = Told()
    resume(run, told)
    assert len(told.moments) == steps_left
    assert_same(run, uninterrupted)
    assert sorted(path.name for path in (run / "logs").iterdir()) == [
        f"events.out.tfevents.{epoch:06d}" for epoch in (1, 2, 3, 4)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_a_clip_model_whose_backbone_learns_first(prepared, tmp_path, steps):
    asked = options("mobile-gru:size_px=32,frames=4", "frames:1", "all:1", checkpoint_every=1)
    fit(prepared, tmp_path / "whole", asked)
    with pytest.raises(Death):
        fit(prepared, tmp_path / "run", asked, Killer(steps + 1))
    resume(tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")


def start(prepared, run, body):
    """A process of its own that trains as `whole()`, with the given report."""
    script = f"""
import os, signal, sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from deepfake_edge.training.fitting import fit
from deepfake_edge.training.preparing.prepared import read_prepared
from training.fitting.small import Killer
from training.fitting.test_resume import whole
{body}
fit(read_prepared(Path({str(prepared.folder)!r})), Path({str(run)!r}), whole(), report)
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)


def test_killed_and_resumed_in_another_process(prepared, uninterrupted, tmp_path):
    run = tmp_path / "run"
    ended = start(prepared, run, "report = Killer(3, lambda: os.kill(os.getpid(), signal.SIGKILL))")
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert not (run / "done.json").exists()
    resume(run)
    assert_same(run, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_after_the_step_and_keeps_it(prepared, uninterrupted, tmp_path, number):
    run = tmp_path / "run"
    kept = signal.getsignal(number)
    killer = Killer(3, lambda: os.kill(os.getpid(), number))
    with pytest.raises(KeyboardInterrupt):
        fit(prepared, run, options(CNN, *STAGES, feed=whole().feed), killer)
    assert signal.getsignal(number) is kept
    assert read_state(run / "checkpoint" / "state.npz").step == 1
    assert any("--resume" in note for note in killer.notes)
    resume(run)
    assert history(run) == history(uninterrupted)


def test_a_run_that_ended_is_left_alone(uninterrupted):
    before = (uninterrupted / "best.keras").stat().st_mtime_ns
    told = Told()
    outcome = resume(uninterrupted, told)
    assert outcome.epochs == 4
    assert (uninterrupted / "best.keras").stat().st_mtime_ns == before
    assert not told.moments


@pytest.mark.slow
def test_other_clips_are_refused(prepared, tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(prepared.folder, data)
    with pytest.raises(Death):
        fit(read_prepared(data), run, whole(), Killer(3))
    picture = next(data.glob("clips/*real-000/*.png"))
    picture.write_bytes(picture.read_bytes() + b"0")
    with pytest.raises(InvalidInput, match="clips are not those"):
        resume(run)
    shutil.rmtree(data)
    with pytest.raises(InvalidInput, match="is no prepared folder"):
        resume(run)
    resume(run, prepared=prepared.folder)
    assert (run / "done.json").exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"no archive"])
def test_a_damaged_checkpoint_is_refused(uninterrupted, tmp_path, damage):
    (tmp_path / "checkpoint").mkdir()
    shutil.copy(uninterrupted / "config.json", tmp_path)
    (tmp_path / "checkpoint" / "state.npz").write_bytes(damage)
    with pytest.raises(InvalidInput, match="start a new one"):
        resume(tmp_path)


def begun(uninterrupted, folder):
    """A run that ended before its first checkpoint; its config as JSON."""
    folder.mkdir()
    shutil.copy(uninterrupted / "config.json", folder)
    return json.loads((folder / "config.json").read_bytes())


def test_one_process_at_a_time(uninterrupted, tmp_path):
    run = tmp_path / "run"
    begun(uninterrupted, run)
    with RunFolder(run).locked(), pytest.raises(InvalidInput, match="another process trains it now"):
        resume(run)


@pytest.mark.parametrize("change", ["an option that was not there", "another margin"])
def test_other_defaults_are_refused(uninterrupted, tmp_path, change):
    run = tmp_path / "run"
    config = begun(uninterrupted, run)
    if change == "another margin":
        config["spec"]["crop"]["margin"] = 1.7
    else:
        del config["options"]["feed"]["augment"]["flip"]
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(InvalidInput, match="begun by another version"):
        resume(run)


def test_a_run_that_ended_can_be_moved(uninterrupted, tmp_path):
    run = tmp_path / "moved here"
    shutil.copytree(uninterrupted, run)
    assert f"convert '{run / 'best.keras'}' --family" in resume(run).convert
    (run / "best.keras").unlink()
    with pytest.raises(InvalidInput, match=r"best\.keras is gone"):
        resume(run)


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"convert": 1}'])
def test_a_damaged_end_is_said(uninterrupted, tmp_path, text):
    run = tmp_path / "run"
    begun(uninterrupted, run)
    shutil.copy(uninterrupted / "best.keras", run)
    (run / "done.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"done\.json: .*delete it"):
        resume(run)


def test_what_trained_it_is_kept_where_it_changes(tmp_path):
    folder, path = RunFolder(tmp_path), tmp_path / "versions.json"
    assert folder.write_versions() == folder.write_versions() == []
    first = {**json.loads(path.read_bytes()), "keras": "2.0"}
    path.write_text(json.dumps(first))
    assert folder.write_versions()[0].startswith("keras 2.0 before, ")
    folder.write_versions()
    found = json.loads(path.read_bytes())
    del first["before"]
    assert found["before"] == [first]
    path.write_text("[")
    assert folder.write_versions() == []


def test_nothing_is_left_of_a_folder_without_its_config(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            RunFolder(tmp_path / "run").create({})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "run").exists()


def test_another_models_variables_are_refused(uninterrupted):
    with pytest.raises(InvalidInput, match="another model's"):
        load_variables(uninterrupted / "checkpoint" / "best.npz", [])


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1}', '{"format": 1, "options": {}, "prepared": 1}', "[]"])
def test_a_damaged_config_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidInput, match="config"):
        resume(tmp_path)


@pytest.mark.slow
def test_a_full_disk_leaves_a_run_that_goes_on(prepared, uninterrupted, tmp_path):
    run = tmp_path / "run"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    fill = Killer(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1])))
    try:
        with pytest.raises(OSError, match="go on with: deepfake-edge train --resume"):
            fit(prepared, run, whole(), fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    resume(run)
    assert_same(run, uninterrupted)
