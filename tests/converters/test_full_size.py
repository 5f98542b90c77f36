"""The Xception-LSTM of the field at full size: minutes, gigabytes, and the proof that counts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from deepfake_edge.bundle import read_bundle
from deepfake_edge.model import Model, normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.families import FAMILIES
from deepfake_edge.training.untrained import seed_weights

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

CONVERT = """
import json, pathlib, sys
from deepfake_edge.converters import convert
report = convert(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
peak_gb = report.peak_memory_bytes / 1e9
print(json.dumps([dict(report.parity), {k: dict(v) for k, v in report.operators.items()}, peak_gb]))
"""


@pytest.mark.slow
def test_xception_lstm_at_full_size(keras, tmp_path):
    family = FAMILIES["xception-lstm"]
    model = family.build()
    seed_weights(model, family.spec)
    model.save(tmp_path / "model.keras")
    command = [sys.executable, "-c", CONVERT, str(tmp_path / "model.keras"), str(tmp_path / "model.dfe")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    parity, operators, peak_gb = json.loads(done.stdout)
    assert done.stderr == ""
    assert peak_gb < 6.0
    assert parity["windows"] >= 16
    assert parity["crops"] >= 64
    assert parity["outputs_max_diff"] <= 1e-5
    assert parity["fake_score_min"] <= 0.1
    assert parity["fake_score_max"] >= 0.9
    assert operators["backbone"]["Conv"] == 74
    assert not {"Transpose", "BatchNormalization"} & set(operators["backbone"])
    assert not {"Loop", "Scan", "If", "LSTM"} & set(operators["head"])
    # And the whole Keras model, frame by frame, on windows of our own choice.
    crops = make_crops(family.spec.crop, family.spec.clip, None)
    windows = crops.windows[[1, 6, 14]]
    values = normalise(crops.crops, family.spec.crop)
    truth = np.concatenate([np.asarray(model(values[row].transpose(0, 2, 3, 1)[None])) for row in windows])
    bundle = read_bundle(tmp_path / "model.dfe")
    with Model(bundle, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as edge:
        features = np.concatenate([edge.features(values[at : at + 4]) for at in range(0, len(values), 4)])
        outputs = edge.outputs(features[windows])
    assert np.abs(outputs - truth).max() <= 1e-5
    assert np.ptp(truth[:, 1]) > 0.05
