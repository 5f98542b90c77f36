"""SavedModel folders of a subclassed model, by each of the ways in which they are written."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from deepfake_edge.converters.keras_models.saved_model import fill, read_saved_model
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop
from deepfake_edge.training.families import FAMILIES

pytestmark = pytest.mark.filterwarnings("ignore")

SCRIPT = """
import importlib, sys
import numpy as np
import tensorflow as tf
keras = importlib.import_module(sys.argv[1])
folder = sys.argv[2]
layers = keras.layers

class Fold(layers.Layer):
    def call(self, values):
        return tf.reshape(values, (-1, 4, 7 * 7 * 32))

class Model(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = layers.TimeDistributed(layers.Conv2D(32, 2, activation="relu"))
        self.pooling = layers.TimeDistributed(layers.AveragePooling2D(2))
        self.fold = Fold()
        self.lstm = layers.LSTM(16, activation="relu")
        self.out = layers.Dense(1, activation="sigmoid")

    def call(self, clip):
        return self.out(self.lstm(self.fold(self.pooling(self.convolution(clip)))))

keras.utils.set_random_seed(20180911)
model = Model()
given = np.random.default_rng(3).uniform(0, 1, (2, 4, 16, 16, 3)).astype("float32")
np.savez(folder + "/known.npz", given=given, wanted=np.asarray(model(given)))
tf.saved_model.save(model, folder + "/saved")
if sys.argv[1] == "keras":
    model.export(folder + "/exported")
else:
    model.save(folder + "/kept", save_format="tf")
"""


@pytest.fixture(scope="session")
def folders(keras, tmp_path_factory):
    """SavedModels by way of writing."""
    found = {}
    for module in ("keras", "tf_keras"):
        if importlib.util.find_spec(module) is None:
            continue
        folder = tmp_path_factory.mktemp(module)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, module, folder], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        found |= {f"{module} {path.name}": path for path in folder.iterdir() if path.is_dir()}
    return found


@pytest.fixture
def model(keras):
    return FAMILIES["cnn-lstm"].build(frames=4, size_px=16)


@pytest.mark.parametrize("way", ["keras exported", "keras saved", "tf_keras kept", "tf_keras saved"])
def test_its_variables_fill_the_family(way, folders, model):
    if way not in folders:
        pytest.skip("tf_keras is not installed: pip install tf-keras")
    source = read_saved_model(folders[way])
    fill(model, source.weights)
    with np.load(folders[way].parent / "known.npz") as known:
        clips, wanted = known["given"], known["wanted"]
    np.testing.assert_allclose(source.function(clips), wanted, atol=1e-6)
    np.testing.assert_allclose(np.asarray(model(clips)), wanted, atol=1e-6)
    # One of the ways writes the batch size into the program.
    three = np.concatenate([clips, clips[:1]])
    np.testing.assert_allclose(source.function(three), wanted[[0, 1, 0]], atol=1e-6)


def test_variables_of_another_model(folders, keras):
    source = read_saved_model(folders["keras exported"])
    other = FAMILIES["cnn-lstm"].build(frames=4, size_px=16, units=8)
    with pytest.raises(ConversionError, match="not those of the architecture") as caught:
        fill(other, source.weights)
    assert any("(16, 1)" in reason for reason in caught.value.reasons)
    assert any("(8, 1)" in reason for reason in caught.value.reasons)


def test_signatures_that_are_no_classifier(keras, tmp_path):
    tf = workshop.tensorflow()
    whole, real = tf.TensorSpec((None, 3), tf.int32, "whole"), tf.TensorSpec((None, 3), tf.float32, "real")
    module = tf.Module()
    module.scale = tf.Variable(2.0)
    tf.saved_model.save(module, str(tmp_path / "none"))
    module.run = tf.function(lambda a, b: {"out": module.scale * b, "sum": a}, input_signature=(whole, real))
    tf.saved_model.save(module, str(tmp_path / "two"), signatures=module.run)
    with pytest.raises(ConversionError, match="no signature serving_default"):
        read_saved_model(tmp_path / "none")
    with pytest.raises(ConversionError) as caught:
        read_saved_model(tmp_path / "two")
    assert len(caught.value.reasons) == 4  # two inputs, two outputs, and one of each of whole numbers


@pytest.mark.parametrize("damage", ["program", "index", "data", "no program", "a link"])
def test_damaged_folders(damage, folders, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    source = folders["keras exported"]
    for path in source.rglob("*"):
        target = copy / path.relative_to(source)
        target.mkdir() if path.is_dir() else target.write_bytes(path.read_bytes())
    part = {"program": "saved_model.pb", "index": "variables/variables.index", "a link": "assets/x"}
    hurt = copy / part.get(damage, "variables/variables.data-00000-of-00001")
    if damage == "no program":
        (copy / "saved_model.pb").unlink()
    elif damage == "a link":
        hurt.parent.mkdir(exist_ok=True)
        hurt.symlink_to("/etc/hostname")
    else:
        hurt.write_bytes(hurt.read_bytes()[: hurt.stat().st_size // 2])
    with pytest.raises(ConversionError, match="SavedModel"):
        read_saved_model(copy)
