from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.training import h264

pytest.importorskip("av")


def clip(count=6, height=64, width=48):
    """A pattern that wanders, over a little noise."""
    random = np.random.default_rng(0)
    noise = random.normal(0, 4, (height, width, 3))
    rows, columns = np.mgrid[0:height, 0:width]
    frames = [
        120 + 70 * np.sin((rows + place) / 6)[..., None] * np.cos(columns / 5)[..., None] for place in range(count)
    ]
    return [np.clip(frame + noise, 0, 255).astype(np.uint8) for frame in frames]


def error(frames, crf):
    coded = h264.through_h264(frames, crf)
    assert [picture.shape for picture in coded] == [picture.shape for picture in frames]
    return float(np.mean([np.abs(a.astype(int) - b) for a, b in zip(frames, coded, strict=True)]))


def test_a_higher_factor_loses_more_and_frames_keep_their_order():
    errors = [error(clip(), crf) for crf in (10, 25, 35, 45)]
    assert errors == sorted(errors)
    assert errors[0] < 4 < 2 * errors[0] < errors[3]
    coded = h264.through_h264(clip(), 20)
    distances = [[np.abs(a.astype(int) - b).mean() for b in clip()] for a in coded]
    assert np.argmin(distances, 1).tolist() == list(range(6))


def test_the_same_pictures_give_the_same_bytes():
    first, again = (h264.through_h264(clip(), 30) for _ in range(2))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))


_DIGEST = """
import hashlib, numpy
from deepfake_edge.training.h264 import through_h264
noise = numpy.random.default_rng(0).integers(0, 256, (4, 250, 274, 3), numpy.uint8)
time, rows, columns = numpy.mgrid[0:8, 0:130, 0:178]
waves = 110 + 60 * numpy.sin((rows + 2 * time) / 5) * numpy.cos((columns + time) / 4)
for pictures in (noise, numpy.repeat(waves[..., None], 3, axis=3).astype(numpy.uint8)):
    for crf in (18, 28, 38):
        print(hashlib.sha256(b"".join(map(bytes, through_h264(list(pictures), crf)))).hexdigest())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="fills fresh memory by an option of the GNU C library")
def test_bytes_do_not_depend_on_what_memory_held():
    def digests(filling: str) -> bytes:
        variables = {**os.environ, "MALLOC_PERTURB_": filling}
        return subprocess.run([sys.executable, "-c", _DIGEST], env=variables, check=True, capture_output=True).stdout

    assert len({digests(filling) for filling in ("0", "1", "85", "170")}) == 1


@pytest.mark.parametrize("count", [1, 2, 40])
def test_any_number_of_pictures_comes_back(count):
    assert len(h264.through_h264(clip(count, 16, 18), 23)) == count


@pytest.mark.parametrize(
    ("frames", "crf", "wanted"),
    [
        (clip(2, 64, 47), 23, "even sides"),
        (clip(2, 14, 48), 23, "16 or more"),
        ([*clip(1), *clip(1, 32)], 23, "one size"),
        ([], 23, "one size"),
        (clip(2), 52, "0 to 51"),
    ],
)
def test_what_cannot_be_coded_is_refused(frames, crf, wanted):
    with pytest.raises(InvalidInput, match=wanted):
        h264.through_h264(frames, crf)


def test_an_encoder_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(h264, "ENCODER", "libnothing")
    with pytest.raises(MissingDependency, match="libnothing"):
        h264.codec()
