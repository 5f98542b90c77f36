"""Every row of the matrix: built, saved, converted, held against its source, and run on a clip."""

from __future__ import annotations

import pytest

from deepfake_edge.benchmarks.matrix import rows, run_row
from deepfake_edge.errors import MissingDependency
from deepfake_edge.training import workshop
from deepfake_edge.training.sample_clip import make_clip

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

# One of each kind of file and of cut; the others take minutes.
QUICK = {
    "cnn-lstm .weights.h5, --family",
    "cnn-lstm SavedModel, --trust-source",
    "Conv3D .keras, --spec --fused",
    "per-frame CNN .onnx NHWC, logits",
}


# Deep networks take most of a minute each; their other files go the same way as those of small ones.
DEEP = ("xception-lstm", "resnet-lstm", "xception-conv-rnn", "resnext50-lstm")
TWINS = ("rnn=bilstm", "rnn=gru")
TITLED = {
    f"{row.name} {row.file}": row
    for row in rows()
    if (row.name not in DEEP or row.file == ".keras, whole model") and not row.name.endswith(TWINS)
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    try:
        workshop.keras()
    except MissingDependency as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=title, marks=() if title in QUICK else pytest.mark.slow) for title, row in TITLED.items()],
)
def test_a_kind_of_model_goes_the_whole_way(row, clip, tmp_path):
    outcome = run_row(row, tmp_path, clip)
    parity = outcome.report.parity
    assert parity["outputs_max_diff"] <= 1e-4
    assert parity["crops"] >= 64
    assert outcome.report.spec.clip.frames == 1 or parity["windows"] >= 16
    assert parity["fake_score_min"] <= 0.1
    assert parity["fake_score_max"] >= 0.9
    assert outcome.label in ("real", "fake")
    assert outcome.scores > 0
    looped = {"Loop", "Scan", "If", "LSTM", "GRU", "RNN"}
    assert not any(looped & set(counts) for counts in outcome.report.operators.values())


def test_the_quick_rows_exist():
    assert TITLED.keys() >= QUICK
