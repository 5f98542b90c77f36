"""A run from its beginning, or from where it stopped, to its end."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deepfake_edge.converters.failures import last_line
from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency, OutOfDeviceMemory
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.fitting.devices import in_words, open_devices
from deepfake_edge.training.fitting.folder import RunFolder
from deepfake_edge.training.fitting.network import Network
from deepfake_edge.training.fitting.options import TrainOptions, Watched
from deepfake_edge.training.fitting.plan import Plan, data_digest, make_plan
from deepfake_edge.training.fitting.report import Report, Silence
from deepfake_edge.training.fitting.state import State, read_state
from deepfake_edge.training.fitting.stopping import stoppable
from deepfake_edge.training.fitting.training import Training
from deepfake_edge.training.preparing.prepared import Prepared, read_prepared

_SILENCE = Silence()
# Of the train extra; needed not before the first epoch's end, which may be hours away.
_LATER = ("sklearn", "matplotlib")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        folder: the run's.
        model: of the epoch that was taken, a float32 `.keras` file.
        watch: what decided which epoch that is, see `TrainOptions`.
        best: that epoch's row of `history.csv`.
        epochs: that were trained.
        spent_s: in all processes.
        convert: the command that makes a bundle of the model.
    """

    folder: Path
    model: Path
    watch: Watched
    best: Mapping[str, Any]
    epochs: int
    spent_s: float
    convert: str


def fit(prepared: Prepared, run: Path, options: TrainOptions, report: Report = _SILENCE) -> Outcome:
    """Train a model from the beginning.

    Args:
        prepared: clips of the splits `train` and `val`.
        run: the run's folder, which must not exist yet.
        options: how to train.
        report: is told.
    Raises:
        InvalidInput: an option, the folder or the clips do not do; before anything is trained.
        MissingDependency: an extra is not installed, or ImageNet's weights cannot be fetched.
        OutOfDeviceMemory: the batches are too large.
        InferenceError: the loss, or what the model gives, is not finite.
        SourceError: a picture cannot be read.
        OSError: a file cannot be written; the run can be taken up again.
        KeyboardInterrupt: a signal asked for the end; the run can be taken up again.
    """
    folder = RunFolder(run)
    folder.check_new()
    plan = make_plan(prepared, options)
    network = _network(plan, options)
    if options.imagenet:
        report.note("taking ImageNet's weights")
        network.take_imagenet()
    folder.create(
        {
            "prepared": str(prepared.folder.resolve()),
            "data_sha256": data_digest(plan),
            "clips": plan.counts(),
            "spec": plan.spec.to_json(),
            "seed": options.feed.seed,
            "options": options.to_json(),
        }
    )
    with folder.locked():
        return _train(Training(plan, options, network, folder, report), plan, folder, State(), report)


def resume(run: Path, report: Report = _SILENCE, prepared: Path | None = None) -> Outcome:
    """Go on with a run that stopped; on a CPU it comes to the same weights as one that never did.

    Args:
        run: the run's folder.
        report: is told.
        prepared: where the prepared folder is now, if it was moved.
    Returns:
        how it ended; at once, where it had ended before.
    Raises:
        InvalidInput: it is no run, another process trains it, its checkpoint is damaged, or its clips or this version's
            defaults are others now; and as `fit`.
    """
    folder = RunFolder(run)
    config = folder.config()
    done = folder.done()
    if done is not None:
        report.note(f"{run}: had ended already")
        return _outcome(folder, done)
    with folder.locked():
        plan, options = _as_it_began(folder, config, prepared)
        state = read_state(folder.checkpoint) if folder.checkpoint.exists() else State()
        network = _network(plan, options)
        if options.imagenet and not folder.checkpoint.exists():
            network.take_imagenet()
        return _train(Training(plan, options, network, folder, report), plan, folder, state, report)


def _as_it_began(folder: RunFolder, config: Mapping[str, Any], prepared: Path | None) -> tuple[Plan, TrainOptions]:
    """What a run trains, and how. Raises InvalidInput where that is not what it began with."""
    try:
        options = TrainOptions.from_json(config["options"])
        data, digest = prepared or Path(config["prepared"]), config["data_sha256"]
        spec = ModelSpec.from_json(config["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{folder.path / 'config.json'}: is damaged ({last_line(error)}); start a new run"
        ) from error
    plan = make_plan(read_prepared(data), options)
    if data_digest(plan) != digest:
        raise InvalidInput(f"{data}: its clips are not those that {folder.path} began with; start a new run")
    if plan.spec != spec or json.loads(json.dumps(options.to_json())) != config["options"]:
        raise InvalidInput(
            f"{folder.path}: it was begun by another version of deepfake-edge, whose defaults are others; go on with "
            "that one, or start a new run"
        )
    return plan, options


def _network(plan: Plan, options: TrainOptions) -> Network:
    absent = [name for name in _LATER if find_spec(name) is None]
    if absent:
        raise MissingDependency(f"{', '.join(absent)}: not installed. Try: pip install 'deepfake-edge[train]'")
    strategy = open_devices(options)
    workshop.keras().utils.set_random_seed(options.feed.seed)
    return Network(plan, strategy, mixed=options.mixed)


def _train(training: Training, plan: Plan, folder: RunFolder, state: State, report: Report) -> Outcome:
    for note in plan.notes:
        report.note(note)
    report.note(f"{plan.family.name} on {in_words(training.strategy)}: {plan.counts_in_words()}")
    with stoppable() as stop, workshop.quiet(), _typed_errors(training.batch, folder):
        if changes := folder.write_versions():
            report.note(f"not as before, so it may come to other weights: {'; '.join(changes)}")
        training.run(state, stop, resumed=folder.checkpoint.exists())
        found = {
            "watch": training.watch,
            "best": next(row for row in reversed(state.history) if row["better"] and row["stage"] != "frames"),
            "epochs": len(state.history),
            "spent_s": round(state.spent_s, 1),
            "convert": [*plan.convert_options(), "-o", f"{plan.family.name}.dfe"],
        }
        folder.draw_curves(state.history)
        folder.write_done(found)
    return _outcome(folder, found)


def _outcome(folder: RunFolder, found: Mapping[str, Any]) -> Outcome:
    # Runs are moved: where the model is now is not written down.
    try:
        convert = shlex.join(["deepfake-edge", "convert", str(folder.best_model), *found["convert"]])
        return Outcome(folder.path, folder.best_model, **{**found, "convert": convert})
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"{folder.path / 'done.json'}: is damaged ({error}); delete it, then go on") from error


@contextmanager
def _typed_errors(batch: int, folder: RunFolder) -> Iterator[None]:
    errors = workshop.tensorflow().errors
    try:
        yield
    except (errors.ResourceExhaustedError, MemoryError) as error:
        raise OutOfDeviceMemory(
            f"training: out of memory with batches of {batch} windows; use a smaller --batch, or smaller sizes of the "
            "--family"
        ) from error
    except OSError as error:
        go_on = shlex.join(["deepfake-edge", "train", "--resume", str(folder.path)])
        hint = f"{error.strerror or error}; once that is mended, go on with: {go_on}"
        raise OSError(error.errno, hint, error.filename or str(folder.path)) from error
    except errors.OpError as error:
        raise InferenceError(f"training: {last_line(error)}") from error
