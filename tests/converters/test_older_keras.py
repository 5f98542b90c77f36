"""Files that older Kerases wrote: each becomes the same model, and each weight stands where it stood."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge.converters.keras_models.modern import modern_config
from deepfake_edge.converters.keras_models.rebuild import build_model
from deepfake_edge.converters.keras_models.weights import load_weights
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

MODELS = ("lstm", "frozen", "sequential", "nested", "plain", "attention")
KINDS = (".keras", ".h5", ".weights.h5", ".only.h5")


def written_by(module: str, folder: Path, path: Path | None = None) -> Path:
    """Have the models of `older_models.py` made and saved by a Keras of its own process."""
    script = Path(__file__).with_name("older_models.py")
    environment = {**os.environ, "PYTHONPATH": str(path or "")}
    done = subprocess.run(
        [sys.executable, "-P", script, module, folder], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture(scope="session")
def keras_2(keras, tmp_path_factory) -> Path:
    if importlib.util.find_spec("tf_keras") is None:
        pytest.skip("tf_keras, which writes Keras 2's files, is not installed: pip install tf-keras")
    return written_by("tf_keras", tmp_path_factory.mktemp("keras_2"))


def config_of(path: Path) -> dict:
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    with workshop.h5py().File(path, "r") as file:
        return json.loads(file.attrs["model_config"])


def check(folder: Path, name: str, kind: str, tmp_path: Path) -> None:
    """Rebuild a model, load its weights from one of its files, and compare what it gives."""
    path = folder / f"{name}{kind}"
    described_by = path if kind in (".keras", ".h5") else folder / f"{name}.h5"
    model = build_model(config_of(described_by))
    if kind == ".keras":
        with zipfile.ZipFile(path) as archive:
            path = tmp_path / "model.weights.h5"
            path.write_bytes(archive.read("model.weights.h5"))
    load_weights(
        model, path, "weights" if kind in (".keras", ".weights.h5") else "legacy", source=path.name, into="itself"
    )
    with np.load(folder / f"{name}.npz") as known:
        np.testing.assert_allclose(np.asarray(model(known["given"], training=False)), known["wanted"], atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MODELS)
def test_keras_2(name, kind, keras_2, tmp_path):
    check(keras_2, name, kind, tmp_path)


@pytest.mark.slow
def test_keras_3_5(keras, tmp_path):
    place, folder = tmp_path / "packages", tmp_path / "files"
    folder.mkdir()
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, "keras==3.5.0"],
        capture_output=True,
        text=True,
    )
    if fetched.returncode != 0:
        pytest.skip(f"pip cannot fetch Keras 3.5: {fetched.stderr.strip()[-200:]}")
    written_by("keras", folder, place)
    for name in MODELS:
        for kind in KINDS[:3]:
            check(folder, name, kind, tmp_path)


def clip_twin(keras):
    """The `lstm` and `frozen` models' architecture, as a family would build it."""
    layers = keras.layers
    crops = keras.Input((16, 16, 3))
    values = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False)(crops)
    values = layers.ReLU()(layers.BatchNormalization()(values))
    branch = layers.SeparableConv2D(4, 3, padding="same", use_bias=False)(values)
    values = layers.Add()([values, layers.BatchNormalization()(branch)])
    cnn = keras.Model(crops, layers.GlobalAveragePooling2D()(values))
    clip = keras.Input((3, 16, 16, 3))
    values = layers.LSTM(4)(layers.TimeDistributed(cnn)(clip))
    return keras.Model(clip, layers.Dense(2, activation="softmax")(values))


@pytest.mark.parametrize("kind", [".h5", ".only.h5", ".weights.h5"])
@pytest.mark.parametrize("name", ["lstm", "frozen"])
def test_into_an_architecture_of_other_layer_names(name, kind, keras, keras_2):
    """A frozen layer's weights come last in Keras 2's files: by position they would land in other layers."""
    clip_twin(keras)
    model = clip_twin(keras)
    load_weights(
        model, keras_2 / f"{name}{kind}", "weights" if "weights" in kind else "legacy", source="it", into="its twin"
    )
    with np.load(keras_2 / f"{name}.npz") as known:
        np.testing.assert_allclose(np.asarray(model(known["given"], training=False)), known["wanted"], atol=2e-6)


def chain(keras, *names, units=6):
    """Layers of equal shapes, one after another."""
    layers = keras.layers
    first = keras.Input((units,))
    values = first
    for name in names:
        values = layers.Dense(units, name=name)(values)
    return keras.Model(first, values)


@pytest.mark.parametrize("kind", ["weights", "legacy"])
def test_names_are_right_where_the_order_differs(kind, keras, tmp_path):
    path = tmp_path / ("a.weights.h5" if kind == "weights" else "a.h5")
    source, target = chain(keras, "left", "right"), chain(keras, "right", "left")
    with workshop.quiet():
        source.save_weights(path) if kind == "weights" else source.save(path)
    load_weights(target, path, kind, source="a", into="b")
    for name in ("left", "right"):
        np.testing.assert_array_equal(source.get_layer(name).kernel, target.get_layer(name).kernel)


def test_names_against_order_is_refused(keras, tmp_path):
    """Numbered layers of equal shapes inside a nested model, whose order says another thing than their numbers."""

    def wrapped(*names):
        return keras.Sequential([keras.Input((6,)), chain(keras, *names)])

    path = tmp_path / "a.h5"
    with workshop.quiet():
        wrapped("dense_8", "dense_7").save(path)
    with pytest.raises(ConversionError, match="contradict each other"):
        load_weights(wrapped("dense_1", "dense_2"), path, "legacy", source="a", into="b")


@pytest.mark.parametrize("separator", ["\\", "_layer_checkpoint_dependencies"])
def test_layouts_of_windows_and_of_keras_2_13(separator, keras, tmp_path):
    source, target = clip_twin(keras), clip_twin(keras)
    now, then = tmp_path / "now.weights.h5", tmp_path / "then.weights.h5"
    source.save_weights(now)
    h5py = workshop.h5py()

    def older(name):
        parts = name.split("/")
        if separator == "\\":
            return "/".join(["\\".join(parts[:-2]), *parts[-2:]])
        return "/".join([parts[0].replace("layers", separator), *parts[1:]])

    with h5py.File(now) as new, h5py.File(then, "w") as old:
        new.visititems(lambda name, item: old.__setitem__(older(name), item[()]) if hasattr(item, "dtype") else None)
    load_weights(target, then, "weights", source="then", into="itself")
    for wanted, found in zip(source.weights, target.weights, strict=True):
        np.testing.assert_array_equal(wanted, found)


@pytest.mark.parametrize("kind", ["weights", "legacy"])
def test_every_mismatch_is_told(kind, keras, tmp_path):
    path = tmp_path / ("a.weights.h5" if kind == "weights" else "a.h5")
    with workshop.quiet():
        chain(keras, "one", "two", units=5).save(path) if kind == "legacy" else chain(
            keras, "one", "two", units=5
        ).save_weights(path)
    with pytest.raises(ConversionError, match=r"a file: its weights are not those of b:") as caught:
        load_weights(chain(keras, "one", "two", "three"), path, kind, source="a file", into="b")
    # two kernels, two biases, and what the third layer lacks
    assert len(caught.value.reasons) == (6 if kind == "weights" else 5)


def layer(kind, **settings):
    return {"class_name": kind, "config": {"name": kind.lower(), **settings}}


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([layer("Dense", units=2)], "does not say what it takes"),
        ([layer("Dense", units=2, activation="hard_sigmoid", batch_input_shape=[None, 3])], "another function"),
        ([layer("NoSuchLayer", batch_input_shape=[None, 3])], "Keras cannot rebuild the model"),
        ([{"class_name": "Dense"}], "is not one of Keras's"),
        ([3], "is not one of Keras's"),
        ("layers", "is not one of Keras's"),
    ],
)
def test_configurations_that_cannot_be_rebuilt(layers, said, keras):
    with pytest.raises(ConversionError) as caught:
        build_model({"class_name": "Sequential", "config": {"name": "a", "layers": layers}})
    assert re.search(said, str(caught.value))


def test_a_list_of_layers_as_keras_2_2_wrote_it(keras):
    model = build_model({"class_name": "Sequential", "config": [layer("Dense", units=2, batch_input_shape=[None, 3])]})
    assert model.input_shape == (None, 3)


def test_mixed_precision_is_run_in_float32(keras):
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}, "module": "keras.mixed_precision"}
    first = layer("Dense", units=2, batch_input_shape=[None, 3], dtype=policy)
    model = build_model({"class_name": "Sequential", "config": {"name": "a", "layers": [first]}})
    assert model.layers[0].compute_dtype == "float32"


def test_translation_leaves_its_argument_alone():
    config = {"class_name": "Sequential", "config": [layer("Dense", units=2, batch_input_shape=[None, 3])]}
    before = json.dumps(config)
    once = modern_config(config)
    assert json.dumps(config) == before
    assert modern_config(once) == once
