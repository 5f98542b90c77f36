"""What is observed of a network is what it computes; memory stays bounded; what is not finite is named."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from deepfake_edge.converters.precision import ranges
from deepfake_edge.converters.precision.ranges import BINS, Range, observe
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.model import normalise
from deepfake_edge.spec import CropSpec

onnx = pytest.importorskip("onnx")

CROP = CropSpec(size_px=8, mean=(10.0, 20.0, 30.0), scale=(0.1, 0.2, 0.3))


def graph(nodes, weights=(), given="crops", shape=("batch", 3, 8, 8), output="out"):
    helper = onnx.helper
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(given, onnx.TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(values, name) for name, values in weights],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    ).SerializeToString()


def node(operator, given, output, **attributes):
    return onnx.helper.make_node(operator, given, [output], name=f"n_{output}", **attributes)


def small():
    """A 1x1 convolution, a ReLU, an integer shape and a pooled output."""
    kernel = np.array([[1.0, -2.0, 0.5], [-1.0, 0.0, -3.0]], np.float32)[:, :, None, None]
    nodes = [
        node("Conv", ["crops", "w"], "conv"),
        node("Relu", ["conv"], "relu"),
        node("Shape", ["relu"], "shape"),
        node("GlobalAveragePool", ["relu"], "out"),
    ]
    return graph(nodes, [("w", kernel)]), kernel


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(5).integers(0, 256, (21, 8, 8, 3), dtype=np.uint8)


def test_extremes_are_those_of_every_value(crops):
    content, kernel = small()
    observed = observe(content, crops, CROP)
    values = normalise(crops, CROP)
    conv = np.einsum("oc,nchw->nohw", kernel[:, :, 0, 0], values)
    found = observed.ranges("minmax")
    assert list(found) == ["crops", "conv", "relu", "out"]
    assert (found["crops"].low, found["crops"].high) == (values.min(), values.max())
    assert found["conv"].low == pytest.approx(conv.min(), rel=1e-5)
    assert found["conv"].high == pytest.approx(conv.max(), rel=1e-5)
    assert found["relu"] == Range(0.0, found["conv"].high)
    assert observed.largest["conv"] == pytest.approx(np.abs(conv).max(), rel=1e-5)


def test_histograms_count_every_value_however_they_come(crops):
    content, kernel = small()
    # The darkest crop first: every later one stretches the histogram.
    ordered = crops // np.arange(21, 0, -1, dtype=np.uint8)[:, None, None, None]
    observed = observe(content, ordered, CROP)
    conv = np.einsum("oc,nchw->nohw", kernel[:, :, 0, 0], normalise(ordered, CROP))
    place = observed.names.index("conv")
    assert observed.counts[place].sum() == conv.size
    reach = observed.reach[place]
    assert observed.largest["conv"] <= reach <= 2 * observed.largest["conv"]
    wanted, _ = np.histogram(np.abs(conv), bins=BINS, range=(0, reach))
    # Values at a bin's edge may fall to either side.
    assert np.abs(np.cumsum(wanted) - np.cumsum(observed.counts[place])).max() <= 0.01 * conv.size


def test_percentile_and_entropy_lie_within_minmax(crops):
    content, _ = small()
    observed = observe(content, crops, CROP)
    widest = observed.ranges("minmax")
    for method in ("percentile", "entropy"):
        for name, found in observed.ranges(method).items():
            assert widest[name].low <= found.low <= 0 <= found.high <= widest[name].high
    with pytest.raises(InvalidInput, match="minmax, percentile, entropy"):
        observed.ranges("mean")


def test_a_dead_tensor_has_an_empty_range(crops):
    content = graph([node("Sub", ["crops", "crops"], "out")])
    for method in ("minmax", "percentile", "entropy"):
        assert observe(content, crops, CROP).ranges(method)["out"] == Range(0.0, 0.0)


def test_clips_go_into_a_fused_network_whole(crops):
    content = graph([node("Mul", ["window", "two"], "out")], [("two", np.float32([2]))], "window", ("batch", 3, 192))
    windows = np.array([[0, 1, 2], [6, 7, 8]])
    observed = observe(content, crops, CROP, windows)
    values = normalise(crops[[0, 1, 2, 6, 7, 8]], CROP)
    assert observed.ranges("minmax")["window"] == Range(values.min(), values.max())
    assert observed.ranges("minmax")["out"] == Range(2 * values.min(), 2 * values.max())


@pytest.mark.parametrize("operator", ["Log", "Exp"])
def test_what_is_not_finite_is_named(operator, crops):
    content = graph(
        [node("Mul", ["crops", "much"], "large"), node(operator, ["large"], "out")], [("much", np.float32([100]))]
    )
    with pytest.raises(ConversionError, match=rf"n_out \({operator}\) gives numbers that are not finite"):
        observe(content, crops, CROP)


def test_chunks_say_the_same(crops, monkeypatch):
    content, _ = small()
    whole = observe(content, crops, CROP)
    monkeypatch.setattr(ranges, "_FETCHED_BYTES", 600)
    said: list[str] = []
    monkeypatch.setattr("deepfake_edge.training.progress._EVERY_S", 0.0)
    parts = observe(content, crops, CROP, progress=said.append)
    assert said[0] == "calibrating (part 1 of 2): 0 of 21"
    assert parts.names == whole.names
    np.testing.assert_array_equal(parts.low, whole.low)
    np.testing.assert_array_equal(parts.high, whole.high)
    assert (parts.counts.sum(axis=1) == whole.counts.sum(axis=1)).all()


MEMORY = """
import re, sys
import numpy as np
from deepfake_edge.converters.precision import ranges
from deepfake_edge.spec import CropSpec
graph = open(sys.argv[1], "rb").read()
crops = np.zeros((2, 256, 256, 3), np.uint8)
ranges._FETCHED_BYTES = int(sys.argv[2])
observed = ranges.observe(graph, crops, CropSpec(size_px=256))
# Unlike getrusage's figure, this one begins with the process, not with the one that started it.
peak = re.search(r"VmHWM:\\s*(\\d+) kB", open("/proc/self/status").read())
print(len(observed.names), int(peak[1]) >> 10)
"""


def test_memory_is_bounded(tmp_path):
    """150 tensors of 1.5 MiB a crop: 225 MiB at once, or 16 MiB at a time."""
    names = [*(f"t{place}" for place in range(150)), "out"]
    nodes = [node("Relu", [before], after) for before, after in pairwise(names)]
    wide = [node("Concat", ["crops", "crops"], "t0", axis=1), *nodes]
    path = tmp_path / "many.onnx"
    path.write_bytes(graph(wide, shape=("batch", 3, 256, 256)))
    found = {}
    for budget in (16 << 20, 1 << 30):
        command = [sys.executable, "-c", MEMORY, str(path), str(budget)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        tensors, found[budget] = map(int, done.stdout.split())
        assert tensors == 152
    assert found[16 << 20] < found[1 << 30] - 180, found


def test_no_column_is_looked_at_more_often_than_others(monkeypatch):
    """Of wide tensors some values are looked at: the first column holds other values, as a padded border does."""
    monkeypatch.setattr(ranges, "_SAMPLES", 4096)
    crops = np.full((8, 64, 64, 3), 200, np.uint8)
    crops[:, :, 0] = 20
    content = graph([node("Relu", ["crops"], "out")], shape=("batch", 3, 64, 64))
    observed = observe(content, crops, CropSpec(size_px=64, mean=(0.0,) * 3, scale=(1.0,) * 3))
    first, others = observed.counts[0][: BINS // 2].sum(), observed.counts[0][BINS // 2 :].sum()
    assert first / (first + others) == pytest.approx(1 / 64, rel=0.1)


def test_bytes_are_those_of_a_whole_clip():
    """Frames stand in the batch's axis, or the batch in the second one."""
    weights = [("merged", np.array([-1, 3, 8, 8], np.int64)), ("apart", np.array([-1, 4, 192], np.int64))]
    nodes = [
        node("Reshape", ["window", "merged"], "frames"),
        node("Reshape", ["frames", "apart"], "again"),
        node("Transpose", ["again"], "out", perm=[1, 0, 2]),
    ]
    content = graph(nodes, weights, given="window", shape=("batch", 4, 192))
    sizes = ranges._sizes(onnx.load_model_from_string(content))
    assert sizes == dict.fromkeys(("frames", "again", "out"), 4 * 4 * 192)
