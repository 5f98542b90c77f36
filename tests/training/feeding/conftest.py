"""What the feed's tests share."""

from __future__ import annotations

import pytest

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from training.prepared_data import make_prepared


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Two clips of each label in each split, 12 face pictures each."""
    pytest.importorskip("matplotlib")
    return make_prepared(tmp_path_factory.mktemp("feeding") / "prepared")


@pytest.fixture
def spec():
    """Of windows of 4 crops of 32 pixels."""
    return ModelSpec("custom", CropSpec(32, margin=1.3), ClipSpec(4, 12.0), ("real", "fake"), "softmax")
