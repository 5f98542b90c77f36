"""What a training feed does with its clips."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, TypeAlias, get_args

from deepfake_edge.checks import check_choice, check_number, check_whole

Balance: TypeAlias = Literal["sampling", "weights", "none"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How often a clip is changed, and how much; a change is the same in all frames of a window.

    Attributes:
        strength: multiplies every range below; 1.0 takes them as they are.
        crop: share of windows whose boxes move by up to 6 % and grow or shrink by up to 10 %.
        flip: share that is mirrored.
        turn: share that is turned by up to 10 degrees.
        colour: share of which brightness (25 levels, 10 a channel), contrast (20 %), hue (10 degrees), saturation
            (25 %) and gamma (25 %) change, by up to that.
        exposure: share with up to two stops less light, or half a stop more.
        shrink: share that is shrunk by up to 3 and blown up again.
        sharpen: share that goes through an unsharp mask of up to 1.5.
        blur: share that is blurred, by up to 1.5 % of the face's longer side.
        noise: share with Gaussian noise of up to 8 levels, new in each frame.
        jpeg: share that goes through JPEG, of quality 100 down to 40.
        video: share that goes through H.264, of a constant rate factor of 18 up to 40.
        frames: share that is sampled up to a quarter faster or slower, with a tenth of the frames repeated and a
            tenth dropped.
    """

    strength: float = 1.0
    crop: float = 1.0
    flip: float = 0.5
    turn: float = 0.3
    colour: float = 0.8
    exposure: float = 0.2
    shrink: float = 0.2
    sharpen: float = 0.2
    blur: float = 0.2
    noise: float = 0.2
    jpeg: float = 0.2
    video: float = 0.2
    frames: float = 0.3

    def __post_init__(self) -> None:
        for item in fields(self):
            check_number(
                f"augmentation: {item.name}", getattr(self, item.name), 0.0, 2.0 if item.name == "strength" else 1.0
            )

    @classmethod
    def none(cls) -> Augmentation:
        """No change at all; windows still start anywhere."""
        return cls(**{item.name: 0.0 for item in fields(cls)})


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What a training feed does with its clips.

    Attributes:
        batch: windows in a batch.
        seed: of everything that is drawn.
        windows: how many each clip gives in an epoch.
        self_blended: share of the fakes that are self-blends of real clips; with 1.0 real clips alone train.
        blend_strength: of their tones, see `self_blended.draw_tone`.
        augment: how windows are changed.
        balance: `sampling` shows the smaller class as often as the larger one; `weights` shows each clip as often
            as any, with the weights that make both classes count alike; `none` neither.
        cache_mb: decoded face pictures that are kept in memory, in MiB; the others are read each time.
    """

    batch: int = 8
    seed: int = 0
    windows: int = 1
    self_blended: float = 0.0
    blend_strength: float = 1.5
    augment: Augmentation = field(default_factory=Augmentation)
    balance: Balance = "sampling"
    cache_mb: int = 1024

    def __post_init__(self) -> None:
        check_whole("batch", self.batch, 1, 4096)
        check_whole("seed", self.seed, 0, 2**32 - 1)
        check_whole("windows", self.windows, 1, 10_000)
        check_whole("cache_mb", self.cache_mb, 0, 2**20)
        check_number("self_blended", self.self_blended, 0.0, 1.0)
        check_number("blend_strength", self.blend_strength, 0.0, 3.0)
        check_choice("balance", self.balance, get_args(Balance))
