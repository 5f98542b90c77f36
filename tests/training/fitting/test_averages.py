"""A run that keeps a moving average of its weights."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.training import workshop
from deepfake_edge.training.fitting import fit, resume
from deepfake_edge.training.fitting.stepping import Stepper
from training.fitting.small import CNN, Death, Killer, history, options


def trained(model):
    return [variable.numpy() for variable in model.trainable_variables]


def kept(run):
    with workshop.quiet():
        return trained(workshop.keras().saving.load_model(run / "best.keras", compile=False))


def test_the_average_is_looked_at_and_kept_and_the_weights_learn_on(prepared, tmp_path, monkeypatch):
    steps, train = [], Stepper.train

    def remember(stepper, batch):
        loss = train(stepper, batch)
        steps.append(trained(stepper.model))
        return loss

    monkeypatch.setattr(Stepper, "train", remember)
    fit(prepared, tmp_path / "averaged", options(CNN, "all:2", average=0.7, watch="last"))
    wanted = steps[0]
    for weights in steps[1:]:
        wanted = [0.7 * mean + 0.3 * one for mean, one in zip(wanted, weights, strict=True)]
    assert len(steps) == 4
    for found, mean, last in zip(kept(tmp_path / "averaged"), wanted, steps[-1], strict=True):
        assert found == pytest.approx(mean, rel=1e-4, abs=1e-6)
        assert not np.array_equal(found, last)
    fit(prepared, tmp_path / "plain", options(CNN, "all:2", watch="last"))
    averaged, plain = history(tmp_path / "averaged"), history(tmp_path / "plain")
    assert [row["loss"] for row in averaged] == [row["loss"] for row in plain]
    assert [row["val_loss"] for row in averaged] != [row["val_loss"] for row in plain]


def test_a_killed_run_goes_on_with_its_average(prepared, tmp_path):
    averaged = options(CNN, "head:1", "all:2", average=0.9, checkpoint_every=1)
    fit(prepared, tmp_path / "whole", averaged)
    with pytest.raises(Death):
        fit(prepared, tmp_path / "killed", averaged, Killer(4))
    resume(tmp_path / "killed")
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    pairs = zip(kept(tmp_path / "killed"), kept(tmp_path / "whole"), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)
