"""A session that never ends keeps its memory: what a camera's firmware needs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepfake_edge import Detector
from deepfake_edge.bundle import write_bundle
from fakes import bright_means_fake

PUSHES = 40_000
MAX_GROWTH_KB = 12_000


def resident_kb() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("together", [False, True])
def test_memory_stays_where_it_is(tmp_path, together):
    write_bundle(bright_means_fake(frames=10, sample_fps=25.0), tmp_path / "clip.dfe")
    write_bundle(bright_means_fake(frames=4, sample_fps=5.0, fused=True), tmp_path / "fused.dfe")
    write_bundle(bright_means_fake(), tmp_path / "frame.dfe")
    names = ("clip", "fused", "frame") if together else ("clip",)
    frame = np.full((48, 64, 3), 90, np.uint8)
    with (
        Detector([tmp_path / f"{name}.dfe" for name in names], faces="whole") as detector,
        detector.session(history=100) as session,
    ):
        for index in range(PUSHES // 4):
            session.push(frame, index / 25)
        settled = resident_kb()
        for index in range(PUSHES // 4, PUSHES):
            # A second without a frame now and then: the track ends, another begins.
            session.push(frame, index / 25 + index // 500)
        assert resident_kb() - settled < MAX_GROWTH_KB
        verdict = session.finish()
    assert verdict.frames_read == PUSHES
    assert len(verdict.scores) <= 100
    assert verdict.scores
