"""The loop: stages, epochs, steps; the best model, early stopping, checkpoints."""

from __future__ import annotations

import math
import time
from typing import Any

from deepfake_edge.errors import InferenceError
from deepfake_edge.training.feeding.clip_feed import ClipFeed
from deepfake_edge.training.feeding.picture_cache import PictureCache
from deepfake_edge.training.fitting.course import Course, make_course, shown
from deepfake_edge.training.fitting.folder import RunFolder
from deepfake_edge.training.fitting.network import Network
from deepfake_edge.training.fitting.options import TrainOptions, Watched
from deepfake_edge.training.fitting.plan import Plan
from deepfake_edge.training.fitting.report import Moment, Report
from deepfake_edge.training.fitting.state import State, load_variables, pack_state
from deepfake_edge.training.fitting.stopping import Stop
from deepfake_edge.training.fitting.validating import Validation, validate


class Training:
    """A run.

    Args:
        plan: what is trained on what.
        options: how.
        network: what is trained.
        folder: where it goes.
        report: who is told.
    """

    def __init__(self, plan: Plan, options: TrainOptions, network: Network, folder: RunFolder, report: Report) -> None:
        self._plan, self._options, self._network, self._folder = plan, options, network, folder
        self._report = report
        # One for all stages and for validation, so that `cache_mb` is what the run takes.
        self._cache = PictureCache(options.feed.cache_mb << 20)
        self._steps = [
            stage.epochs * ClipFeed(plan.train, *shown(plan, options, stage), self._cache).steps
            for stage in options.stages
        ]

    @property
    def strategy(self) -> Any:
        """The tf.distribute.Strategy whose devices it is on."""
        return self._network.strategy

    @property
    def watch(self) -> Watched:
        """What decides which epoch is taken."""
        return self._options.watch

    @property
    def batch(self) -> int:
        """Windows in a batch."""
        return self._options.feed.batch

    def run(self, state: State, stop: Stop, *, resumed: bool) -> None:
        """Train to the end.

        Args:
            state: where to begin; is brought to the end.
            stop: whether somebody asked for the end.
            resumed: the folder's checkpoint holds the variables of that state.
        Raises:
            KeyboardInterrupt: somebody asked for the end; the run can be taken up again.
            InferenceError: the loss is no number.
            SourceError: a picture cannot be read.
            OSError: a file cannot be written.
        """
        first = state.stage
        for place in range(first, len(self._options.stages)):
            course = make_course(self._plan, self._options, self._network, self._cache, place)
            if resumed and place == first:
                load_variables(self._folder.checkpoint, course.variables)
                if state.step == 0:
                    self._publish(course, state)
            while not self._over(course, state):
                self._epoch(course, state, stop)
            load_variables(self._folder.best_weights, self._network.model.weights)
            state.stage, state.epoch, state.waited = place + 1, 0, 0
            if course.stage.kind == "frames":
                state.best = None

    def _over(self, course: Course, state: State) -> bool:
        patience = self._options.patience
        return state.epoch == course.stage.epochs or (patience is not None and state.waited >= patience)

    def _epoch(self, course: Course, state: State, stop: Stop) -> None:
        began = time.monotonic()
        with course.feed.typed_errors():
            for batch in course.feed.dataset(len(state.history), state.step):
                self._step(course, state, batch)
                now = time.monotonic()
                state.spent_s, began = state.spent_s + now - began, now
                # Before validation too, whose end may never come.
                whole = state.step == course.feed.steps
                if stop.asked or whole or state.step % self._options.checkpoint_every == 0:
                    self._keep(course, state)
                self._end_if(stop)
        with course.stepper.averaged():
            found = validate(course.stepper, course.still, course.spec)
        if found is None:
            raise self._diverged("the model gives numbers that are not finite for validation clips")
        state.spent_s += time.monotonic() - began
        self._finish(course, state, found)
        self._end_if(stop)

    def _step(self, course: Course, state: State, batch: Any) -> None:
        loss = course.stepper.train(batch)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at step {state.step + 1} of epoch {state.epoch + 1}")
        state.loss += loss
        state.step += 1
        done = sum(self._steps[: state.stage]) + state.epoch * course.feed.steps + state.step
        mean = state.loss / state.step
        before = state.history[-1]["val_auc"] if state.history else None
        kind = f"{course.stage.kind}:{course.stage.epochs}"
        self._report.step(Moment(kind, state.epoch + 1, course.stage.epochs, mean, before, done, sum(self._steps)))

    def _finish(self, course: Course, state: State, found: Validation) -> None:
        """An epoch's end: is it taken, and all that is written of it; the checkpoint comes first."""
        watch = self._options.watch
        value = [-found.loss, found.auc] if watch == "loss" else [found.auc, -found.loss]
        better = watch == "last" or state.best is None or value > state.best
        row = {
            "epoch": len(state.history) + 1,
            "stage": course.stage.kind,
            "rate": float(f"{course.stepper.rate:.6g}"),
            "loss": state.loss / course.feed.steps,
            "val_loss": found.loss,
            "val_auc": found.auc,
            "val_accuracy": found.accuracy,
            "better": int(better),
            "spent_s": round(state.spent_s, 1),
        }
        state.history.append(row)
        state.epoch, state.step, state.loss = state.epoch + 1, 0, 0.0
        state.waited = 0 if better else state.waited + 1
        if better:
            state.best = value
        self._keep(course, state)
        self._publish(course, state)
        best = ", the best" if better and watch != "last" else ""
        self._report.note(
            f"{course.stage.kind} {state.epoch} of {course.stage.epochs}: loss {row['loss']:.4f}, validation "
            f"loss {found.loss:.4f}, AUC {found.auc:.4f}, accuracy {found.accuracy:.4f}{best}"
        )

    def _publish(self, course: Course, state: State) -> None:
        """What follows from the checkpoint of an epoch's end; done again where a run is taken up there."""
        if state.history[-1]["better"]:
            with course.stepper.averaged():
                self._folder.write(self._folder.best_weights, pack_state(state, self._network.model.weights))
                if course.stage.kind != "frames":
                    self._folder.write(self._folder.best_model, self._network.save())
        self._folder.write_history(state.history)

    def _keep(self, course: Course, state: State) -> None:
        self._folder.write(self._folder.checkpoint, pack_state(state, course.variables))

    def _diverged(self, what: str) -> InferenceError:
        mixed = ", or without --mixed" if self._options.mixed else ""
        best = self._folder.best_model
        kept = f"; {best} is of an epoch before" if best.exists() else ""
        return InferenceError(f"training: {what}; train a new run with a lower --rate{mixed}{kept}")

    def _end_if(self, stop: Stop) -> None:
        if stop.asked:
            self._report.note(f"stopped; go on with: deepfake-edge train --resume {self._folder.path}")
            raise KeyboardInterrupt
