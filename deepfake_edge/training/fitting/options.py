"""How to train, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from deepfake_edge.checks import check_choice, check_number, check_whole
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.feeding.options import Augmentation, FeedOptions

Kind: TypeAlias = Literal["frames", "head", "all"]
Schedule: TypeAlias = Literal["cosine", "constant"]
Watched: TypeAlias = Literal["auc", "loss", "last"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a training.

    Attributes:
        kind: `all` trains every layer; `head` keeps the backbone as it is; `frames` trains the backbone of a clip
            model alone, on single crops, with a last layer of its own that is thrown away afterwards.
        epochs: at most.
        rate: learning rate; None takes the run's.
    """

    kind: Kind
    epochs: int
    rate: float | None = None

    def __post_init__(self) -> None:
        check_choice("stages", self.kind, get_args(Kind))
        check_whole("stages: epochs", self.epochs, 1, 100_000)
        if self.rate is not None:
            check_number("stages: rate", self.rate, 1e-9, 10.0)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """How to train.

    Attributes:
        family: the architecture, `NAME` or `NAME:size=value,...`.
        stages: one after the other; each begins with the best weights of the one before.
        feed: batches, augmentation, self-blended fakes, balance; its seed is the whole run's.
        spec: spec values that differ from the family's, key to text, as for `convert --spec`.
        rate: Adam's learning rate.
        schedule: of the rate over a stage: `cosine` goes down to 0 (Loshchilov and Hutter, "SGDR", ICLR 2017),
            `constant` stays.
        warm_up: share of a stage's steps in which the rate rises to its full height.
        smoothing: of the labels in the loss, 0..0.5.
        average: momentum of a moving average of the weights over the steps, which is what is looked at and kept
            (Polyak and Juditsky, 1992); None: the weights themselves.
        watch: what decides which epoch is taken: the highest `auc` or the lowest `loss` of the validation clips, or
            none of them: the `last` of a stage.
        patience: a stage ends after this many epochs without a better one; None: never early, as with `last`.
        imagenet: the backbone starts from ImageNet's weights, which are fetched from the network.
        mixed: compute in half precision; the model that is saved is float32.
        logical_devices: parts that the CPU is split into.
        checkpoint_every: steps.
    """

    family: str
    stages: tuple[Stage, ...] = field(default_factory=lambda: (Stage("all", 20),))
    feed: FeedOptions = field(default_factory=FeedOptions)
    spec: Mapping[str, str] = field(default_factory=dict)
    rate: float = 1e-3
    schedule: Schedule = "cosine"
    warm_up: float = 0.05
    smoothing: float = 0.0
    average: float | None = None
    watch: Watched = "auc"
    patience: int | None = 10
    imagenet: bool = False
    mixed: bool = False
    logical_devices: int = 1
    checkpoint_every: int = 200

    def __post_init__(self) -> None:
        for name, kind in (("family", str), ("spec", Mapping), ("imagenet", bool), ("mixed", bool)):
            if not isinstance(getattr(self, name), kind):
                raise InvalidInput(f"{name}: wanted a {kind.__name__}, got {getattr(self, name)!r}")
        if not self.stages:
            raise InvalidInput("stages: wanted one or more, e.g. frames:10,head:5,all:20")
        check_number("rate", self.rate, 1e-9, 10.0)
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_number("warm_up", self.warm_up, 0.0, 0.9)
        check_number("smoothing", self.smoothing, 0.0, 0.5)
        if self.average is not None:
            check_number("average", self.average, 0.0, 0.99999)
        check_choice("watch", self.watch, get_args(Watched))
        if self.patience is not None:
            check_whole("patience", self.patience, 1, 100_000)
        check_whole("logical_devices", self.logical_devices, 1, 64)
        check_whole("checkpoint_every", self.checkpoint_every, 1, 10**9)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; `from_json` reads it back unchanged."""
        return {**asdict(self), "spec": dict(self.spec)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> TrainOptions:
        """Read what `to_json` wrote. Raises InvalidInput, KeyError or TypeError."""
        feed = value["feed"]
        return cls(
            **{
                **value,
                "stages": tuple(Stage(**stage) for stage in value["stages"]),
                "feed": FeedOptions(**{**feed, "augment": Augmentation(**feed["augment"])}),
            }
        )


def parse_stages(text: str) -> tuple[Stage, ...]:
    """Read `KIND:EPOCHS[@RATE],...`, such as `frames:10,head:5,all:20@1e-4`. Raises InvalidInput."""
    stages = []
    for part in text.split(","):
        kind, colon, rest = part.strip().partition(":")
        epochs, at, rate = rest.partition("@")
        try:
            if not colon or kind not in get_args(Kind):
                raise ValueError(part)
            stages.append(Stage(kind, int(epochs), float(rate) if at else None))  # type: ignore[arg-type]
        except InvalidInput:
            raise
        except ValueError:
            kinds = ", ".join(get_args(Kind))
            raise InvalidInput(f"stages: wanted KIND:EPOCHS or KIND:EPOCHS@RATE of {kinds}, got {part!r}") from None
    return tuple(stages)
