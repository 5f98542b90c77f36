"""What users get wrong, and what they are told: one line that names the option."""

from __future__ import annotations

import pytest

from deepfake_edge.cli import main
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.converters.cut import cut
from deepfake_edge.errors import ConversionError, InvalidInput

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.mark.parametrize("limit", ["nan", "inf", "-inf"])
def test_a_memory_limit_that_is_no_number(limit, capsys):
    assert main(["convert", "model.keras", f"--memory-limit={limit}"]) == 1
    assert (
        capsys.readouterr().err == f"deepfake-edge: InvalidInput: --memory-limit: wanted a number of GiB, got {limit}\n"
    )


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
