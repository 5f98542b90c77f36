"""The other side: what is harmless passes every check, and the canary does sing."""

from __future__ import annotations

import importlib
import json
import socket
import zipfile
from pathlib import Path

import pytest

from attacks.forge import CONFIG, WEIGHTS, entries_of, forged_zip, with_config
from deepfake_edge.converters.files.allowed import cleaned, objections
from deepfake_edge.converters.files.allowed_names import LAYERS, OPERATIONS, REASONS
from deepfake_edge.converters.files.archive import extract_weights, read_archive
from deepfake_edge.converters.files.hdf5 import check_hdf5, hdf5_kind, read_model_config
from deepfake_edge.converters.files.source_file import identify
from deepfake_edge.errors import ConversionError
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.training import workshop

# Of Keras 2 alone, or of later and earlier Keras 3 than is installed.
ELSEWHERE = {"GroupedQueryAttention", "RandomHeight", "RandomWidth", "SyncBatchNormalization", "ThresholdedReLU"}


def test_the_base_passes_every_check(base, tmp_path):
    assert identify(base.archive).kind == "archive"
    assert objections(read_archive(base.archive)) == []
    extract_weights(base.archive, tmp_path / WEIGHTS)
    for path, kind in ((tmp_path / WEIGHTS, "weights"), (base.weights, "weights"), (base.legacy, "legacy")):
        assert identify(path).kind == "hdf5"
        check_hdf5(path, path.name)
        assert hdf5_kind(path) == kind
    config = read_model_config(base.legacy, "clip.h5")
    assert config is not None
    assert objections(config) == []
    assert read_model_config(base.weights, "clip.weights.h5") is None
    (tmp_path / "any.name").write_bytes(base.onnx)
    assert identify(tmp_path / "any.name").kind == "onnx"
    check_onnx(base.onnx, "backbone")


def test_the_forge_is_honest_when_it_does_not_lie(base, tmp_path):
    path = with_config(base, base.config(), tmp_path / "same.keras")
    assert read_archive(path) == base.config()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("large", [False, True])
def test_archives_that_others_packed_again(method, large, base, tmp_path):
    path = tmp_path / "packed.keras"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in base.members().items():
            with archive.open(zipfile.ZipInfo(name), "w", force_zip64=large) as member:
                member.write(content)
    assert read_archive(path) == base.config()
    extract_weights(path, tmp_path / WEIGHTS)
    assert (tmp_path / WEIGHTS).read_bytes() == base.members()[WEIGHTS]


def test_damaged_weights_leave_nothing_behind(base, tmp_path):
    entries = entries_of(base)
    weights = next(entry for entry in entries if entry.name == WEIGHTS)
    weights.stored = weights.content[:-1] + b"?"
    (tmp_path / "bad.keras").write_bytes(forged_zip(entries))
    with pytest.raises(ConversionError, match="damaged"):
        extract_weights(tmp_path / "bad.keras", tmp_path / WEIGHTS)
    assert not (tmp_path / WEIGHTS).exists()


def test_training_is_not_shown_to_keras(base):
    evil = {"module": "os", "class_name": "system", "config": {}}
    config = base.config() | {"compile_config": {"loss": evil}}
    config["config"]["layers"][1]["config"]["layer"]["compile_config"] = {"optimizer": evil}
    assert objections(config) == []
    assert "compile_config" not in json.dumps(cleaned(config))
    assert "compile_config" in config


def test_operations_and_constants_of_keras_pass():
    keras = workshop.keras()
    layers, ops = keras.layers, keras.ops
    image = keras.Input((16, 16, 3))
    values = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 1.0, 1.0])(image)
    values = layers.RandomFlip(seed=3)(values)
    values = ops.relu(values[:, 1:, ::2] * 2.0 - 1.0) / 255.0
    values = ops.concatenate([ops.mean(values, axis=(1, 2)), ops.max(values, axis=(1, 2))], axis=-1)
    start = keras.initializers.HeNormal(seed=keras.random.SeedGenerator(3))
    values = layers.Dense(4, "gelu", kernel_initializer=start, kernel_regularizer=keras.regularizers.L2(0.1))(values)
    values = layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])(ops.expand_dims(values, 1))
    model = keras.Model(image, layers.Dense(1, activation="sigmoid", dtype="mixed_float16")(values))
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))
    assert objections(config) == []


@pytest.mark.parametrize("kind", ["layers", "operations"])
def test_every_allowed_name_is_one_of_keras(kind):
    keras = workshop.keras()
    if kind == "layers":
        assert {name for name in LAYERS if not hasattr(keras.layers, name)} == ELSEWHERE
        assert not LAYERS & set(REASONS)
        return
    for module, names in OPERATIONS.items():
        found = vars(importlib.import_module(module))
        assert [name for name in sorted(names) if name not in found] == []


def test_a_saved_model_needs_trust(base, canary, refused, tmp_path):
    folder = tmp_path / "in" / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(base.members()[CONFIG])
    refused(folder, "--trust-source")


def sing(canary, how: str) -> None:
    target = canary.target
    if how == "read":
        if not canary.reading_shows:
            pytest.skip("this file system does not keep the time of the last reading")
        target.file.read_bytes()
    elif how == "write":
        target.file.write_bytes(target.file.read_bytes())
    elif how == "new file":
        Path(target.folder, "written").touch()
    else:
        socket.create_connection(("127.0.0.1", target.port)).close()


@pytest.mark.parametrize("how", ["read", "write", "new file", "call"])
def test_the_canary_sings(how, canary, listener):
    canary.check()
    sing(canary, how)
    with pytest.raises(AssertionError):
        canary.check()
    if how == "call":
        listener.accept()[0].close()
