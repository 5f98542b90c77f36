"""What the feed's tests share."""

from __future__ import annotations

import pytest

from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec


@pytest.fixture
def spec():
    """Of windows of 4 crops of 32 pixels."""
    return ModelSpec("custom", CropSpec(32, margin=1.3), ClipSpec(4, 12.0), ("real", "fake"), "softmax")
