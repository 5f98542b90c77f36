"""Pictures of one model and of several, with what is lacking left out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from deepfake_edge.training import plots

pytestmark = pytest.mark.filterwarnings("error")
_BLUE_BGR = (0xB2, 0x72, 0x00)
_LONG = "a-folder-of-runs-{}/and-a-run/best-of-all-models.dfe int8"


@pytest.fixture(autouse=True)
def _matplotlib():
    pytest.importorskip("matplotlib", reason="needs the train extra")


def seen(path) -> int:
    """Pixels of the first model's colour."""
    return int((cv2.imread(str(path)) == np.asarray(_BLUE_BGR)).all(axis=-1).sum())


@pytest.mark.parametrize("count", [1, 5])
def test_a_legend_hides_no_line(tmp_path, count):
    # The first line runs along three borders, so that a legend within the panel is on it wherever it is.
    border = ((0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 1.0, 0.0))
    for titles in ("{}", _LONG):
        lines = {titles.format(number): border if number == 0 else ((0.5,), (0.5,)) for number in range(count)}
        plots.roc(lines, tmp_path / f"{len(titles)}.png")
    assert seen(tmp_path / f"{len(_LONG)}.png") == pytest.approx(seen(tmp_path / "2.png"), rel=0.02)


def test_stress_has_a_bar_and_a_line_where_there_are_figures(tmp_path):
    for name, figure in {"all": (0.75, 0.5, 0.9), "value": (0.75, None, None), "none": (None, None, None)}.items():
        plots.stress({"model": {"clean": (0.75, None, None), "dark": figure}}, tmp_path / f"{name}.png")
    bars = {name: seen(tmp_path / f"{name}.png") for name in ("all", "value", "none")}
    assert bars["none"] < 0.7 * bars["value"]
    # The line lies over a part of the bar.
    assert 20 < bars["value"] - bars["all"] < 0.1 * bars["value"]


def test_without_any_model_a_picture_is_drawn(tmp_path):
    plots.confusion({}, tmp_path / "confusion.png")
    plots.reliability({}, tmp_path / "reliability.png")
    assert cv2.imread(str(tmp_path / "confusion.png")) is not None
