"""Sources that are damaged or would be overwritten: one typed line, and nothing is touched."""

from __future__ import annotations

import os
import random
import stat
import zipfile
from pathlib import Path

import pytest

from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.converters.files.hdf5 import check_hdf5, hdf5_kind
from deepfake_edge.converters.files.source_file import identify
from deepfake_edge.converters.keras_models.weights import load_weights
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.training import workshop
from deepfake_edge.training.families import FAMILIES

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture(scope="module")
def meso4(keras):
    return FAMILIES["meso4"].build(size_px=64)


def load(model, path):
    """What the conversion process does with weights for a family."""
    check_hdf5(path, path.name)
    load_weights(model, path, hdf5_kind(path), source=path.name, into="meso4")


def mutants(data: bytes, count: int):
    """Flips of a few bits, mostly where a file's structure is; every fifth is cut short as well."""
    dice = random.Random(20180911)
    for number in range(count):
        changed = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            limit = len(changed) if number % 2 else min(len(changed), 6000)
            changed[dice.randrange(8, limit)] ^= 1 << dice.randrange(8)
        yield bytes(changed[: dice.randrange(8, len(changed))] if number % 5 == 4 else changed)


@pytest.mark.parametrize("method", ["STORED", "DEFLATED"])
def test_damaged_archives(method, saved, tmp_path):
    packed = tmp_path / "packed.keras"
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(packed, "w", getattr(zipfile, f"ZIP_{method}")) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert identify(packed).kind == "archive"
    said = []
    for data in mutants(packed.read_bytes(), 60):
        packed.write_bytes(data)
        try:
            identify(packed)
        except ConversionError as error:
            said.append(str(error))
    assert len(said) > 20
    assert all("packed.keras" in line for line in said)


@pytest.mark.filterwarnings("ignore")
def test_damaged_weights(meso4, tmp_path):
    whole, source = tmp_path / "whole.weights.h5", tmp_path / "cut.weights.h5"
    meso4.save_weights(whole)
    load(meso4, whole)
    refused = 0
    for data in mutants(whole.read_bytes(), 60):
        source.write_bytes(data)
        try:
            load(meso4, source)
        except ConversionError:
            refused += 1
    assert refused > 10


@pytest.mark.parametrize("kind", ["number for layers", "array for weights", "absent layer", "empty", "text"])
def test_hdf5_of_another_make(kind, meso4, tmp_path):
    path = tmp_path / "odd.h5"
    with workshop.h5py().File(path, "w") as file:
        {
            "number for layers": lambda: file.attrs.__setitem__("layer_names", 3),
            "array for weights": lambda: file.create_dataset("model_weights", data=[1]),
            "absent layer": lambda: file.attrs.__setitem__("layer_names", [b"a"]),
            "empty": lambda: file.create_group("model_weights"),
            "text": lambda: file.create_dataset("x", data=[b"s"]),
        }[kind]()
    with pytest.raises(ConversionError, match=r"odd\.h5: "):
        load(meso4, path)


def test_the_source_is_never_overwritten(saved, tiny, tmp_path):
    source = tmp_path / "m.keras"
    source.write_bytes(saved.read_bytes())
    (tmp_path / "link.dfe").symlink_to(source)
    os.link(source, tmp_path / "twin.dfe")
    for output in (source, tmp_path / "link.dfe", tmp_path / "twin.dfe", tmp_path / "." / "m.keras"):
        with pytest.raises(InvalidInput, match="is the source itself"):
            convert(source, output, ConvertOptions(overrides=tiny.overrides))
    assert source.read_bytes() == saved.read_bytes()
    assert (tmp_path / "link.dfe").is_symlink()


def test_pipes_and_devices_are_no_output(saved, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for output in (pipe, Path("/dev/null"), tmp_path / ("n" * 300)):
        with pytest.raises(InvalidInput, match="output: "):
            convert(saved, output)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_family_that_nobody_named_is_a_warning(meso4, tmp_path):
    source = tmp_path / "m.keras"
    meso4.save(source)
    said = [
        any("by structure alone" in warning for warning in convert(source, tmp_path / "m.dfe", options).warnings)
        for options in (ConvertOptions(), ConvertOptions(overrides={"classes": "real"}))
    ]
    assert said == [True, False]
