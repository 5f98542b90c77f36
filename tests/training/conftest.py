"""What several tests of the workshop share."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_edge.training.sample_clip import make_clip


@pytest.fixture(scope="session")
def clip_path(tmp_path_factory) -> Path:
    """The sample clip: 4 s of one face."""
    pytest.importorskip("matplotlib")
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path
