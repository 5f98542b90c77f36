"""What Keras and the exporter raise and log comes out as one typed line, and nothing else is heard."""

from __future__ import annotations

import pytest

from deepfake_edge.converters.cutting.cut import cut
from deepfake_edge.converters.exporting.export import export
from deepfake_edge.converters.failures import last_line
from deepfake_edge.errors import ConversionError

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_an_operator_that_onnx_lacks(keras, caplog):
    layers = keras.layers
    crops = keras.Input((8, 8, 3))
    values = layers.GlobalAveragePooling2D()(keras.ops.erfinv(crops))
    parts = cut(keras.Model(crops, layers.Dense(1, activation="sigmoid")(values)), None, None)
    with pytest.raises(ConversionError, match="No Op registered for Erfinv") as caught:
        export(parts)
    assert "\n" not in str(caught.value)
    assert not [record for record in caplog.records if record.name.startswith("tf2onnx")]


def test_a_crop_that_is_too_small_for_the_layers(keras):
    layers = keras.layers
    crops = keras.Input((None, None, 3))
    values = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3)(crops))
    parts = cut(keras.Model(crops, layers.Dense(1, activation="sigmoid")(values)), None, 2)
    with pytest.raises(ConversionError, match="Negative dimension size") as caught:
        export(parts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "ValueError: plain"),
        ("", "ValueError"),
        (
            "in user code:\n\n  File x, line 3\n\n  TypeError: two\n\nArguments received by A:\n  - b=1",
            "TypeError: two",
        ),
        ("Exception encountered when calling A.\n\n\x1b[1m{{function_node f}} three\x1b[0m\n", "ValueError: three"),
        ("a" * 999, f"ValueError: {'a' * 288} ..."),
    ],
)
def test_the_line_that_says_what_is_wrong(text, line):
    assert last_line(ValueError(text)) == line
