"""A run from a prepared folder to a model that `convert` takes."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys

import numpy as np
import pytest

from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency, OutOfDeviceMemory, SourceError
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.feeding.picture_cache import PictureCache
from deepfake_edge.training.fitting import fit
from deepfake_edge.training.fitting import training as loop
from deepfake_edge.training.fitting.network import Network
from deepfake_edge.training.fitting.plan import make_plan
from deepfake_edge.training.fitting.stepping import Stepper
from deepfake_edge.training.fitting.validating import Validation
from deepfake_edge.training.preparing.prepared import read_prepared
from training.fitting.small import CNN, Killer, Told, fed, history, options, weights

LSTM = "cnn-lstm:size_px=32,frames=4"
SMALL = [CNN, "meso4:size_px=32", LSTM]
DEEP = [
    "mobile-gru:size_px=32,frames=4",
    "mesoinception4:size_px=32",
    "xception-lstm:size_px=71,frames=2,units=8",
    "resnet-lstm:size_px=32,frames=2,units=8",
    "resnext50-lstm:size_px=32,frames=2,units=8",
    "xception-conv-rnn:size_px=71,frames=2,units=8",
    "xception-conv-rnn:size_px=71,frames=2,units=8,rnn=bigru,frame_scores=1",
]


def loaded(run):
    with workshop.quiet():
        return workshop.keras().saving.load_model(run / "best.keras", compile=False)


@pytest.mark.parametrize("family", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in DEEP)])
def test_a_family_trains_one_epoch_from_end_to_end(prepared, tmp_path, family):
    run, told = tmp_path / "run", Told()
    outcome = fit(prepared, run, options(family, "all:1", feed=fed(batch=2, windows=1)), told)
    model = loaded(run)
    spec = ModelSpec.from_json(json.loads((run / "config.json").read_text())["spec"])
    assert model.input_shape[-2] == spec.crop.size_px
    assert all(variable.dtype == "float32" for variable in model.weights)
    assert all(np.isfinite(values).all() for values in model.get_weights())
    assert [moment.done for moment in told.moments] == [1, 2]
    assert told.moments[-1].total == 2
    assert outcome.epochs == 1
    assert outcome.best["val_auc"] == float(history(run)[0]["val_auc"])
    assert f"--family {family}" in outcome.convert or outcome.convert.count("=") >= family.count("=")


def test_a_run_is_one_folder_with_everything(prepared, tmp_path):
    run = tmp_path / "run"
    fit(prepared, run, options(CNN, "all:2"))
    assert {path.name for path in run.iterdir()} == {
        "best.keras", "checkpoint", "config.json", "curves.png", "done.json", "history.csv", "logs", "versions.json",
    }  # fmt: skip
    config, versions = (json.loads((run / name).read_text()) for name in ("config.json", "versions.json"))
    assert config["seed"] == 0
    assert config["clips"] == {"train": {"real": 2, "fake": 2}, "val": {"real": 2, "fake": 2}}
    assert len(config["data_sha256"]) == 64
    assert versions["keras"]
    assert versions["devices"]
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert events(run) == {
        (name, place): pytest.approx(float(row[name]), rel=1e-6)
        for place, row in enumerate(rows, start=1)
        for name in ("loss", "val_loss", "val_auc", "val_accuracy", "rate")
    }


def events(run):
    """Scalars, as TensorBoard would read them."""
    tensorflow = workshop.tensorflow()
    found = {}
    for path in (run / "logs").iterdir():
        for record in tensorflow.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tensorflow.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[value.tag, event.step] = float(tensorflow.make_ndarray(value.tensor))
    return found


def test_a_folder_that_exists_is_refused(prepared, tmp_path):
    with pytest.raises(InvalidInput, match="exists already; give another"):
        fit(prepared, tmp_path, options())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match=r"exists already; go on with it: .*--resume"):
        fit(prepared, tmp_path, options())


def test_nothing_is_left_of_a_run_that_could_not_begin(prepared, tmp_path):
    for wrong in (
        options("meso4:size_px=0"),
        options(imagenet=True),
        options("xception-lstm:size_px=32,frames=2"),
        options("mobile-gru:frames=99"),
    ):
        with pytest.raises(InvalidInput):
            fit(prepared, tmp_path / "run", wrong)
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_imagenet_without_a_network_is_said(prepared, tmp_path, monkeypatch):
    workshop.keras()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in [name for name in os.environ if name.lower() == "no_proxy"]:
        monkeypatch.delenv(name)
    with pytest.raises(MissingDependency, match=r"Xception cannot be fetched.*leave --imagenet out"):
        fit(prepared, tmp_path / "run", options("xception-lstm:size_px=71,frames=2", imagenet=True))
    assert not (tmp_path / "run").exists()


def scripted(monkeypatch, figures):
    """Let validation find what is given, epoch by epoch: (AUC, loss)."""
    left = iter(figures)
    monkeypatch.setattr(loop, "validate", lambda *_: Validation(*reversed(next(left)), 0.5))


def test_early_stopping_and_the_best_epoch(prepared, tmp_path, monkeypatch):
    # The third is better by its loss alone; none of the next two is, so the stage ends.
    scripted(monkeypatch, [(0.7, 0.6), (0.9, 0.6), (0.9, 0.5), (0.9, 0.55), (0.8, 0.1), (1.0, 0.0)])
    outcome = fit(prepared, tmp_path / "run", options(CNN, "all:6", patience=2))
    assert [row["better"] for row in history(tmp_path / "run")] == ["1", "1", "1", "0", "0"]
    assert outcome.best["epoch"] == 3


def test_the_loss_can_be_watched_and_a_stage_begins_with_the_best(prepared, tmp_path, monkeypatch):
    scripted(monkeypatch, [(0.5, 0.6), (0.9, 0.7), (0.9, 0.7), (0.4, 0.5), (0.9, 0.9)])
    run = tmp_path / "run"
    outcome = fit(prepared, run, options(CNN, "head:3", "all:2", patience=1, watch="loss"))
    rows = [(row["stage"], row["better"]) for row in history(run)]
    # The head's stage ends after its second epoch; the next has to beat the first, and does so not at once.
    assert rows == [("head", "1"), ("head", "0"), ("all", "0")]
    assert outcome.best["epoch"] == 1


def test_the_last_epoch_is_taken_where_that_is_asked_for(prepared, tmp_path, monkeypatch):
    scripted(monkeypatch, [(0.9, 0.1), (0.8, 0.2), (0.7, 0.3)])
    run, told = tmp_path / "run", Told()
    outcome = fit(prepared, run, options(CNN, "head:1", "all:2", watch="last", patience=1), told)
    assert [row["better"] for row in history(run)] == ["1", "1", "1"]
    assert (outcome.watch, outcome.best["epoch"], outcome.best["val_auc"]) == ("last", 3, 0.7)
    assert json.loads((run / "done.json").read_bytes())["watch"] == "last"
    with np.load(run / "checkpoint" / "state.npz") as state:
        last = [state[name] for name in state.files]
    for values in weights(run):
        assert any(np.array_equal(values, each) for each in last)
    assert not any("best" in note for note in told.notes)


def test_the_head_alone_learns_while_the_backbone_is_frozen(prepared, tmp_path):
    run = tmp_path / "run"
    workshop.tensorflow_for_training()
    workshop.keras().utils.set_random_seed(0)
    before = Network(make_plan(prepared, options()), default_strategy(), mixed=False).model.get_weights()
    fit(prepared, run, options(CNN, "head:1"))
    same = [np.array_equal(one, other) for one, other in zip(before, weights(run), strict=True)]
    assert same == [True] * 24 + [False] * 2


def default_strategy():
    return workshop.tensorflow().distribute.get_strategy()


@pytest.mark.parametrize("family", [LSTM, pytest.param("mobile-gru:size_px=32,frames=4", marks=pytest.mark.slow)])
def test_the_backbone_learns_single_crops_first(prepared, tmp_path, monkeypatch, family):
    told, made, make = Told(), [], PictureCache.__init__
    monkeypatch.setattr(PictureCache, "__init__", lambda self, limit: made.append(limit) or make(self, limit))
    fit(prepared, tmp_path / "run", options(family, "frames:1", "head:1"), told)
    rows = history(tmp_path / "run")
    assert [(row["stage"], row["better"]) for row in rows] == [("frames", "1"), ("head", "1")]
    # Sixteen crops a step, as many as four windows have; as many crops an epoch as windows would show.
    assert [moment.stage for moment in told.moments] == ["frames:1"] * 2 + ["head:1"] * 2
    kept = np.load(tmp_path / "run" / "checkpoint" / "best.npz")
    assert np.array_equal(kept["00000"], weights(tmp_path / "run")[0])
    assert made == [fed().cache_mb << 20], "the pictures of a run take more than cache_mb"


@pytest.mark.slow
def test_the_rate_rises_and_falls(prepared, tmp_path):
    run = tmp_path / "run"
    fit(prepared, run, options(CNN, "all:4", rate=1e-3, warm_up=0.5, feed=fed(batch=8)))
    rates = [float(row["rate"]) for row in history(run)]
    # Two of four steps rise, from a third of the way; then half a cosine.
    assert rates == pytest.approx([1e-3 / 3, 2e-3 / 3, 1e-3, 5e-4], rel=1e-4)


@pytest.mark.slow
def test_the_rate_stays(prepared, tmp_path):
    fit(prepared, tmp_path / "level", options(CNN, "all:2", rate=1e-3, schedule="constant", warm_up=0.0))
    assert [float(row["rate"]) for row in history(tmp_path / "level")] == [1e-3, 1e-3]


@pytest.mark.slow
def test_labels_are_smoothed_in_the_loss(prepared, tmp_path):
    for name, smoothing in (("hard", 0.0), ("smooth", 0.5)):
        fit(prepared, tmp_path / name, options(CNN, "all:1", smoothing=smoothing, rate=1e-9))
    hard, smooth = (float(history(tmp_path / name)[0]["val_loss"]) for name in ("hard", "smooth"))
    assert hard != smooth
    # With half of each label taken away, no loss is under that of 0.75 against 0.25.
    assert smooth >= -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))


@pytest.mark.slow
def test_it_learns(prepared, tmp_path):
    run = tmp_path / "run"
    fit(prepared, run, options(CNN, "all:12", feed=fed(windows=4), rate=3e-3))
    losses = [float(row["loss"]) for row in history(run)]
    assert min(losses) < 0.6 < losses[0]


def test_a_loss_that_is_no_number_ends_it(prepared, tmp_path, monkeypatch):
    def poison(network, kind):
        network.model.weights[-1].assign([np.nan])

    monkeypatch.setattr(Network, "freeze", poison)
    with pytest.raises(InferenceError, match=r"the loss is nan at step 1 of epoch 1; .*lower --rate"):
        fit(prepared, tmp_path / "run", options(LSTM, "all:1"))


def test_a_model_that_diverged_in_an_epochs_last_step_is_not_kept(prepared, tmp_path, monkeypatch):
    run, train, left = tmp_path / "run", Stepper.train, [4]

    def diverge(stepper, batch):
        loss = train(stepper, batch)
        left[0] -= 1
        if not left[0]:
            stepper.model.weights[-1].assign([np.nan])
        return loss

    monkeypatch.setattr(Stepper, "train", diverge)
    with pytest.raises(InferenceError, match=r"not finite for validation clips; .*best\.keras is of an epoch before"):
        fit(prepared, run, options(CNN, "all:2", watch="last"))
    assert len(history(run)) == 1
    assert all(np.isfinite(values).all() for values in weights(run))


def test_what_is_needed_at_an_epochs_end_is_asked_for_before(prepared, tmp_path, monkeypatch):
    for name in ("sklearn", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=r"sklearn, matplotlib: not installed.*train"):
        fit(prepared, tmp_path / "run", options())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["TensorFlow's", pytest.param("Python's", marks=pytest.mark.slow)])
def test_too_large_batches_are_said(prepared, tmp_path, kind):
    def run_out():
        errors = workshop.tensorflow().errors
        raise MemoryError if kind == "Python's" else errors.ResourceExhaustedError(None, None, "OOM when allocating")

    with pytest.raises(OutOfDeviceMemory, match="out of memory with batches of 4 windows; use a smaller --batch"):
        fit(prepared, tmp_path / "run", options(LSTM, "all:1"), Killer(1, run_out))


def test_a_damaged_picture_is_named(prepared, tmp_path):
    shutil.copytree(prepared.folder, tmp_path / "data")
    for path in (tmp_path / "data").glob("clips/*/002.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(SourceError, match=r"002\.png"):
        fit(read_prepared(tmp_path / "data"), tmp_path / "run", options(LSTM, "all:9"))


@pytest.mark.slow
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_mixed_precision_computes_in_half_and_saves_float32(prepared, tmp_path, monkeypatch, half):
    run = tmp_path / "run"
    if half == "float16":
        init = Network.__init__

        def as_on_a_gpu(self, plan, strategy, *, mixed):
            config = workshop.tensorflow().config
            monkeypatch.setattr(config, "list_logical_devices", lambda kind=None: [kind])
            init(self, plan, strategy, mixed=mixed)
            monkeypatch.undo()

        monkeypatch.setattr(Network, "__init__", as_on_a_gpu)
    # No dropout and no batch normalisation, whose chance and sums would differ by themselves.
    fit(prepared, run, options(LSTM, "all:1", mixed=True))
    fit(prepared, tmp_path / "full", options(LSTM, "all:1"))
    assert all(values.dtype == np.float32 for values in weights(run))
    mixed, full = (float(history(each)[0]["loss"]) for each in (run, tmp_path / "full"))
    assert mixed != full
    assert mixed == pytest.approx(full, rel=0.02)
    assert workshop.keras().config.dtype_policy().name == "float32"
