"""The benchmark against Keras: any kind of bundle, and no traceback."""

from __future__ import annotations

import pytest

from deepfake_edge.benchmarks import streaming
from deepfake_edge.converters import ConvertOptions, convert

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.mark.parametrize("classes", ["real", "fake"])
def test_a_single_sigmoid_is_compared(classes, keras, cnn, tiny, data_dir, tmp_path):
    source, bundle = tmp_path / "m.keras", tmp_path / "m.dfe"
    keras.Sequential([cnn(), keras.layers.Dense(1, activation="sigmoid")]).save(source)
    given = {**tiny.overrides, "classes": classes}
    del given["sample_fps"]
    convert(source, bundle, ConvertOptions(overrides=given))
    clip = data_dir / "videos" / "real_single_frontal_intel_male.mp4"
    figures = streaming.measure(source, bundle, clip, faces="whole", turns=2)
    assert figures["score_max_diff"] < 1e-4


def test_an_absent_model_is_one_line(keras, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        streaming.main([str(tmp_path / "none.keras"), str(tmp_path / "m.dfe"), str(tmp_path / "clip.mp4")])
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("ConversionError: ")
