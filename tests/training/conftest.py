"""What several tests of the workshop share."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_edge.errors import MissingDependency
from deepfake_edge.training import workshop
from deepfake_edge.training.preparing.prepared import Prepared
from deepfake_edge.training.sample_clip import make_clip
from training.prepared_data import make_prepared


@pytest.fixture(scope="session")
def clip_path(tmp_path_factory) -> Path:
    """The sample clip: 4 s of one face."""
    pytest.importorskip("matplotlib")
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path


@pytest.fixture(scope="session")
def prepared(tmp_path_factory) -> Prepared:
    """Two clips of each label in each split, 12 pictures each at 12 a second; never written to."""
    pytest.importorskip("matplotlib")
    return make_prepared(tmp_path_factory.mktemp("workshop") / "prepared")


@pytest.fixture(scope="session")
def keras():
    try:
        return workshop.keras()
    except MissingDependency as error:
        pytest.skip(str(error))
