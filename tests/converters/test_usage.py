"""What users get wrong, and what they are told: one line that names the option."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake_edge.cli import main
from deepfake_edge.converters import ConvertOptions, Limits, convert
from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.spec_values import parse_overrides
from deepfake_edge.errors import ConversionError, InvalidInput

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def saved_frame_model(keras, tiny, tmp_path):
    layers = keras.layers
    crop = keras.Input((tiny.side, tiny.side, 3))
    values = layers.GlobalAveragePooling2D()(layers.Conv2D(2, 3)(crop))
    keras.Model(crop, layers.Dense(1, activation="sigmoid")(values)).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


@pytest.mark.parametrize("limit", ["nan", "inf", "-inf"])
def test_a_memory_limit_that_is_no_number(limit, capsys):
    assert main(["convert", "model.keras", f"--memory-limit={limit}"]) == 1
    assert (
        capsys.readouterr().err == f"deepfake-edge: InvalidInput: --memory-limit: wanted a number of GiB, got {limit}\n"
    )


@pytest.mark.parametrize("limits", [{"wall_s": 10**15}, {"cpu_s": 10**15}, {"memory_bytes": 2**70}, {"wall_s": 0}])
def test_limits_that_the_system_cannot_keep(limits):
    with pytest.raises(InvalidInput, match=f"limits: {next(iter(limits))}: wanted a whole number from 1 to"):
        Limits(**limits)


def test_values_that_are_no_text():
    with pytest.raises(InvalidInput, match=r"margin: wanted text.*1\.2; classes: wanted text"):
        parse_overrides({"margin": 1.2, "classes": ("real", "fake")})


def test_paths_may_be_text(saved_frame_model, tiny, tmp_path):
    picture = tmp_path / "face.png"
    cv2.imwrite(str(picture), np.random.default_rng(0).integers(0, 256, (tiny.side, tiny.side, 3), np.uint8))
    overrides = {key: value for key, value in tiny.overrides.items() if key != "sample_fps"} | {"classes": "fake"}
    options = ConvertOptions(overrides=overrides, calibration=str(picture), checks=((str(picture), "fake"),))
    report = convert(str(saved_frame_model), str(tmp_path / "m.dfe"), options)
    assert report.parity["crops_are"] == "0 clips and 1 pictures of the user's own"
    assert report.fits


def test_what_is_wrong_with_an_output_is_said_once(tmp_path):
    source = tmp_path / "model.keras"
    source.write_bytes(b"")
    for output, words in (
        (tmp_path / "nowhere" / "m.dfe", "output: wanted a file in an existing folder"),
        (source, "output: .* is the source itself"),
    ):
        with pytest.raises(InvalidInput, match=f"^{words}"):
            convert(source, output)


def test_a_file_with_a_masking_layer_is_refused_for_its_masking(keras, tiny, tmp_path):
    layers = keras.layers
    clip = keras.Input((tiny.frames, tiny.side, tiny.side, 3))
    values = layers.Masking(name="mask")(layers.TimeDistributed(layers.Flatten())(clip))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(layers.LSTM(2)(values)))
    model.save(tmp_path / "masked.keras")
    with pytest.raises(ConversionError, match=r"mask .Masking.: masks frames"):
        convert(tmp_path / "masked.keras", tmp_path / "m.dfe", ConvertOptions(overrides=tiny.overrides))


@pytest.mark.parametrize("frames", [None, 1])
def test_clips_of_one_frame_are_refused(frames, keras, tiny):
    layers = keras.layers
    clip = keras.Input((frames, tiny.side, tiny.side, 3))
    values = layers.LSTM(2)(layers.TimeDistributed(layers.Flatten())(clip))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(values))
    with pytest.raises(ConversionError, match="clips of 2 frames or more"):
        cut(model, 1, None)
