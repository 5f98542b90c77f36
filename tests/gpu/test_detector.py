"""From frames to scores on a real GPU: the same as on the CPU, wherever crops are cut; and what a frame takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from deepfake_edge import Detector, Frame
from deepfake_edge.bundle import write_bundle
from deepfake_edge.cuda.crops import why_not
from deepfake_edge.data import Face
from deepfake_edge.golden import TOLERANCE
from deepfake_edge.gpu import build_engines

pytestmark = pytest.mark.gpu

FACES = 5
WIDTH, HEIGHT = 1920, 1080
SIDE = 240


class FiveFaces:
    """Faces where the test says they are."""

    def find(self, frames):
        boxes = [(60.5 + 360 * place, 300.0, 60.5 + 360 * place + SIDE, 300.0 + SIDE) for place in range(FACES)]
        return [[Face(box, 1.0) for box in boxes] for _ in frames]


@pytest.fixture
def path(bundle, precision, tensorrt, tmp_path):
    """The variant that TensorRT computes as a bundle of its own, which ONNX Runtime then computes, too; built."""
    variant = bundle.variant_for(precision, "tensorrt")
    alone = replace(bundle, variants={variant: bundle.variants[variant]})
    build_engines(alone, precision)
    write_bundle(alone, tmp_path / "bundle.dfe")
    return tmp_path / "bundle.dfe"


def frames(bundle) -> Iterator[Frame]:
    """As many as two windows need, at the model's own rate."""
    random = np.random.default_rng(5)
    fps = bundle.spec.clip.sample_fps or 25.0
    for index in range(bundle.spec.clip.frames + 4):
        coarse = random.integers(0, 256, (HEIGHT // 40, WIDTH // 40, 3), np.uint8)
        yield Frame(index, index / fps, coarse.repeat(40, axis=0).repeat(40, axis=1))


def observed(bundle, detector) -> tuple[list[float], float]:
    """Scores of all windows, and the median milliseconds a frame."""
    detector._idle_finders[:] = [FiveFaces()]
    scores, times_s = [], []
    with detector.session() as session:
        for frame in frames(bundle):
            start_s = time.perf_counter()
            scores += [score.fake_score for score in session.observe(frame).scores]
            times_s.append(time.perf_counter() - start_s)
    return scores, statistics.median(times_s) * 1e3


@pytest.mark.parametrize("crops", ["cpu", "cuda"])
def test_the_scores_are_those_of_the_cpu(bundle, precision, path, device, crops, figure):
    reason = why_not(device) if crops == "cuda" else None
    if reason is not None:
        pytest.skip(reason)
    if crops == "cuda" and bundle.variants[bundle.variant_for(precision, "tensorrt")].backbone is None:
        pytest.skip("a fused clip network keeps its crops on the CPU")
    with Detector(path, faces="whole", runtime="onnxruntime", precision=precision) as detector:
        wanted, _ = observed(bundle, detector)
    with Detector(path, faces="whole", runtime="tensorrt", precision=precision, crops=crops) as detector:
        found, frame_ms = observed(bundle, detector)
    assert len(found) == len(wanted) > 0
    # The gate's tolerance is for faces; these are none.
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2 * TOLERANCE[precision])
    what = f"a {WIDTH}x{HEIGHT} frame with {FACES} faces, crops on {crops}"
    figure(bundle.name, "tensorrt", precision, what, f"{frame_ms:.2f} ms")
