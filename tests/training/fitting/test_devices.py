"""Several devices share a batch: two logical ones on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.fitting import fit
from training.fitting.small import CNN, fed, history, options, weights

TESTS = Path(__file__).resolve().parents[2]
# Neither dropout nor batch normalisation: the sums are the same, but for their order.
LSTM = "cnn-lstm:size_px=32,frames=4"
ASKED = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.fitting import fit, resume
from deepfake_edge.training.preparing.prepared import read_prepared
from training.fitting.small import CNN, Death, Killer, Told, fed, options
from training.fitting.test_devices import LSTM, STAGES
from training.fitting.test_resume import assert_same
prepared, out, told = read_prepared(Path(sys.argv[1])), Path(sys.argv[2]), Told()
try:
    fit(prepared, out / "odd", options(LSTM, logical_devices=2, feed=fed(batch=3)))
except InvalidInput as error:
    assert "multiple of 2" in str(error) and not (out / "odd").exists(), error
fit(prepared, out / "two", options(LSTM, *STAGES, logical_devices=2), told)
assert "2 parts of the CPU" in told.notes[-5], told.notes
normalised = options(CNN, "all:2", logical_devices=2, checkpoint_every=1)
fit(prepared, out / "whole", normalised)
try:
    fit(prepared, out / "killed", normalised, Killer(3))
except Death:
    resume(out / "killed")
assert_same(out / "killed", out / "whole")
"""
STAGES = ("frames:1", "all:3")


@pytest.fixture(scope="module")
def two(prepared, tmp_path_factory):
    """The folder in which a process of its own trained on two devices."""
    out = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-c", ASKED, str(prepared.folder), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return out / "two"


@pytest.mark.slow
def test_two_devices_have_one_state(two):
    """Where each kept its own moving averages, a resumed run would come to others, as its process has seen."""
    assert (two.parent / "killed" / "done.json").exists()


@pytest.mark.slow
def test_two_devices_learn_as_one_does(prepared, two, tmp_path):
    fit(prepared, tmp_path / "one", options(LSTM, *STAGES))
    rows = list(zip(history(two), history(tmp_path / "one"), strict=True))
    # The judge of single crops has dropout, drawn for each device on its own.
    for on_two, on_one in rows[1:]:
        assert float(on_two["loss"]) == pytest.approx(float(on_one["loss"]), rel=0.05)
        assert float(on_two["val_loss"]) == pytest.approx(float(on_one["val_loss"]), rel=0.05)


@pytest.mark.slow
def test_more_devices_than_tensorflow_runs_with_are_refused(prepared, tmp_path):
    fit(prepared, tmp_path / "run", options(CNN, "all:1", feed=fed(windows=1)))
    with pytest.raises(InvalidInput, match="a process of its own"):
        fit(prepared, tmp_path / "more", options(CNN, logical_devices=2))
    assert not (tmp_path / "more").exists()
    assert np.isfinite(weights(tmp_path / "run")[0]).all()
