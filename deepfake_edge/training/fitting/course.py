"""One stage made ready: its batches, its model, its optimizer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from deepfake_edge.spec import ClipSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.feeding.clip_feed import ClipFeed
from deepfake_edge.training.feeding.options import FeedOptions
from deepfake_edge.training.feeding.picture_cache import PictureCache
from deepfake_edge.training.feeding.still_feed import StillFeed
from deepfake_edge.training.fitting.network import Network
from deepfake_edge.training.fitting.options import Stage, TrainOptions
from deepfake_edge.training.fitting.plan import Plan
from deepfake_edge.training.fitting.stepping import Stepper

_MOST_BATCH, _MOST_WINDOWS = 4096, 10_000


@dataclass(frozen=True, slots=True)
class Course:
    """A stage made ready.

    Attributes:
        stage: which.
        spec: of the model that learns; for `frames` one of single crops.
        feed: what it learns from.
        still: what it is looked at with.
        stepper: the model and its optimizer.
        variables: all that a checkpoint must hold, in a fixed order.
    """

    stage: Stage
    spec: ModelSpec
    feed: ClipFeed
    still: StillFeed
    stepper: Stepper
    variables: tuple[Any, ...]


def make_course(plan: Plan, options: TrainOptions, network: Network, cache: PictureCache, place: int) -> Course:
    """Make a stage ready.

    Args:
        plan: what is trained on what.
        options: how.
        network: what is trained.
        cache: of the run's pictures.
        place: which stage, 0-based.
    """
    stage = options.stages[place]
    spec, fed = shown(plan, options, stage)
    feed = ClipFeed(plan.train, spec, fed, cache)
    # Whatever is drawn from here on must not depend on the stages before, or whether the run was taken up again.
    workshop.keras().utils.set_random_seed((options.feed.seed + place) % 2**32)
    network.freeze(stage.kind)
    model = network.judge() if stage.kind == "frames" else network.model
    stepper = Stepper(network, model, stage, options, stage.epochs * feed.steps)
    known = {id(each): each for each in (*network.model.variables, *model.variables, *stepper.optimizer.variables)}
    return Course(stage, spec, feed, StillFeed(plan.val, spec, fed, cache), stepper, tuple(known.values()))


def shown(plan: Plan, options: TrainOptions, stage: Stage) -> tuple[ModelSpec, FeedOptions]:
    """The spec and the options of a stage's feed.

    Single crops come as many a step as windows have, so that a step takes as much memory, and an epoch shows as many.
    """
    spec, fed = plan.spec, options.feed
    if stage.kind == "frames":
        frames = spec.clip.frames
        spec = replace(spec, clip=ClipSpec(1))
        batch, windows = min(fed.batch * frames, _MOST_BATCH), min(fed.windows * frames, _MOST_WINDOWS)
        fed = replace(fed, batch=batch - batch % fed.batch, windows=windows)
    return spec, fed
