"""Bundles that need no conversion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deepfake_edge.bundle import write_bundle
from fakes import bright_means_fake


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """`frame.dfe` of single crops, and `clip.dfe` of four crops at 12 a second in two precisions."""
    folder = tmp_path_factory.mktemp("bundles")
    write_bundle(bright_means_fake(name="frame"), folder / "frame.dfe")
    clip = bright_means_fake(frames=4, sample_fps=12.0, name="clip")
    fp32 = clip.variants["fp32"]
    write_bundle(replace(clip, variants={"fp32": fp32, "int8": fp32}), folder / "clip.dfe")
    return folder
