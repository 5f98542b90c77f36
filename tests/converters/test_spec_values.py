"""Each value has an origin that is true, and likely slips are said."""

from __future__ import annotations

import pytest

from deepfake_edge.converters.findings import Findings
from deepfake_edge.converters.spec_values import parse_overrides, rows, settle
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.families import FAMILIES

MEASURED = {"size_px": 32, "frames": 5, "activation": "softmax"}
GIVEN = {
    "margin": "1", "fit": "stretch", "resize": "linear", "channel_order": "rgb", "mean": "127.5", "scale": "1/127.5",
    "sample_fps": "10", "classes": "real,fake",
}  # fmt: skip
RAW = {"mean": [0.0] * 3, "scale": [1.0] * 3, "words": "the model: its rescaling (Rescaling) takes raw pixels, 0..255"}


def settled(found, **changes):
    given = {key: value for key, value in {**GIVEN, **changes}.items() if value is not None}
    return settle(None, found, parse_overrides(given))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"frames": "9"}, "frames: 9 was given, the model itself has 5"),
        ({"size_px": "64"}, "size_px"),
        ({"colour": "rgb"}, "colour: unknown"),
        ({"margin": "wide", "stride": "x"}, "margin.*stride"),
        ({"scale": "1/0"}, "scale"),
        ({"classes": "fake"}, "classes"),
        ({"resize": "cubic"}, "resize"),
    ],
)
def test_wrong_values_are_refused(changes, words):
    with pytest.raises(InvalidInput, match=words):
        settled(Findings(MEASURED, None, "none"), **changes)


def test_nothing_is_doubted_where_all_is_plain():
    spec, origin, doubts = settled(Findings(MEASURED, None, "none"))
    assert doubts == ()
    assert (origin["frames"], origin["mean"]) == ("the model", "--spec")
    assert ("pixels 0..255", "become -1..1", "mean and scale") in rows(spec, origin)


def test_the_models_own_first_layers_count_unless_the_user_says_otherwise():
    spec, origin, doubts = settled(Findings(MEASURED, None, "none", pixels=RAW), mean=None, scale=None)
    assert (spec.crop.mean, spec.crop.scale) == ((0.0,) * 3, (1.0,) * 3)
    assert origin["mean"] == RAW["words"]
    assert doubts == ()
    spec, origin, (doubt,) = settled(Findings(MEASURED, None, "none", pixels=RAW))
    assert spec.crop.mean == (127.5,) * 3
    assert origin["mean"] == "--spec"
    assert "normalised twice" in doubt


def test_a_mean_of_0_to_1_is_doubted():
    _, _, (doubt,) = settled(
        Findings(MEASURED, None, "none"), mean="0.485,0.456,0.406", scale="1/0.229,1/0.224,1/0.225"
    )
    assert "mean=123.675,116.28,103.53" in doubt
    assert settled(Findings(MEASURED, None, "none"), mean="0", scale="1/255")[2] == ()


@pytest.mark.parametrize(("given", "wanted"), [({}, "family xception-lstm"), ({"frames": "5"}, "--spec")])
def test_what_the_file_does_not_say_is_not_said_to_come_from_it(given, wanted):
    family = FAMILIES["xception-lstm"]
    found = Findings(MEASURED, family.name, "named", assumed={"frames": "family xception-lstm"})
    _, origin, _ = settle(family, found, parse_overrides(given))
    assert origin["frames"] == wanted
    assert origin["size_px"] == "the model"
