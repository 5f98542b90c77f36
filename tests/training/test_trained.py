from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.benchmarks import trained
from deepfake_edge.benchmarks.real_clips import read_clip

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_pairs_are_real_and_fake_of_one_crop(clip_path):
    clip = read_clip(clip_path, 1.0)
    crops, labels, maps = trained.make_pairs([clip], np.random.default_rng(3), 80)
    again = trained.make_pairs([clip], np.random.default_rng(3), 80)
    assert crops.shape == (16, 80, 80, 3)
    assert maps.shape == (16, 80, 80, 2)
    assert labels[:, 0].tolist() == [0, 1] * 8
    assert np.array_equal(crops, again[0])
    assert -1 <= crops.min() < crops.max() <= 1
    assert 0 <= maps.min() <= maps.max() <= 1
    assert not maps[0::2].any()
    assert (maps[1::2].mean(axis=(1, 2)) > 0.01).all()
    assert (np.abs(crops[0::2] - crops[1::2]).mean(axis=(1, 2, 3)) > 0.005).all()


@pytest.mark.slow
def test_the_recipe_runs_from_clips_to_a_model(clip_path, keras, tmp_path, capsys):
    given = ["--train", str(clip_path), "--held-out", str(clip_path), "--out", str(tmp_path), "--minutes", "0.1"]
    assert trained.main([*given, "--rounds", "1", "--epochs", "1"]) == 0
    assert "held-out windows: AUC" in capsys.readouterr().err
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert model.input_shape == (None, trained.FRAMES, trained.SIZE_PX, trained.SIZE_PX, 3)
