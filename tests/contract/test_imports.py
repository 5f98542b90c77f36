"""`import deepfake_edge` is light: measured in a process of its own, on what is really installed."""

from __future__ import annotations

import json
import subprocess
import sys

import deepfake_edge

HEAVY = (
    "cv2", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "matplotlib", "h5py", "insightface", "mtcnn", "PIL",
    "scipy", "openvino", "tensorrt", "pycuda",
)  # fmt: skip

PROBE = """
import json, sys, time
import numpy
start = time.perf_counter()
import deepfake_edge
print(json.dumps([time.perf_counter() - start, sorted({name.partition('.')[0] for name in sys.modules})]))
"""


def probe() -> tuple[float, list[str]]:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    seconds, loaded = json.loads(done.stdout)
    return seconds, loaded


def test_no_heavy_package_comes_with_the_import():
    _, loaded = probe()
    assert not set(HEAVY) & set(loaded)


def test_the_import_takes_under_0_3_s_beyond_numpy_and_opencv():
    assert min(probe()[0] for _ in range(3)) < 0.3


def test_every_public_name_exists_and_none_is_forgotten():
    assert sorted(deepfake_edge.__all__) == deepfake_edge.__all__
    for name in deepfake_edge.__all__:
        assert hasattr(deepfake_edge, name)


def test_every_error_is_of_the_one_tree():
    from deepfake_edge import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), deepfake_edge.DeepfakeEdgeError)
        assert name in deepfake_edge.__all__
