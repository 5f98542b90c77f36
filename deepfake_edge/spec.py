"""What a model expects of the world, as data: how a crop is cut, how a clip is sampled, what its output means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

from deepfake_edge.checks import check_choice, check_number, check_whole
from deepfake_edge.errors import InvalidInput

Fit: TypeAlias = Literal["stretch", "square"]
Resize: TypeAlias = Literal["linear", "area", "bilinear", "bicubic"]
ChannelOrder: TypeAlias = Literal["rgb", "bgr"]
Activation: TypeAlias = Literal["softmax", "sigmoid"]
Triple: TypeAlias = tuple[float, float, float]

MAX_SIZE_PX = 4096
MAX_CLIP_FRAMES = 1024
_CLASS_NAMES = {"real", "fake"}


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How a face becomes a network's input.

    Attributes:
        size_px: side S of the square crop.
        margin: the box is scaled by this around its centre before it is cut (1.0: as it is).
        fit: `stretch` takes the box, rounded to whole pixels and cut at the frame's edge, and stretches it
            to S x S; `square` takes the square around its centre (its longer side), 0 outside the frame.
        resize: `linear` is OpenCV's INTER_LINEAR, `area` its INTER_AREA; `bilinear` and `bicubic` are
            Pillow's, which antialias when they shrink.
        channel_order: order of the three planes that go in.
        mean: subtracted from each 0..255 pixel, per plane in `channel_order`.
        scale: multiplied afterwards: value = (pixel - mean) * scale.
    """

    size_px: int = 299
    margin: float = 1.0
    fit: Fit = "stretch"
    resize: Resize = "linear"
    channel_order: ChannelOrder = "rgb"
    mean: Triple = (127.5, 127.5, 127.5)
    scale: Triple = (1 / 127.5, 1 / 127.5, 1 / 127.5)

    def __post_init__(self) -> None:
        check_whole("size_px", self.size_px, 1, MAX_SIZE_PX)
        check_number("margin", self.margin, 0.1, 10.0)
        check_choice("fit", self.fit, get_args(Fit))
        check_choice("resize", self.resize, get_args(Resize))
        check_choice("channel_order", self.channel_order, get_args(ChannelOrder))
        for name, triple in (("mean", self.mean), ("scale", self.scale)):
            if not isinstance(triple, tuple) or len(triple) != 3:
                raise InvalidInput(f"{name}: wanted 3 numbers, one a channel, got {triple!r}")
            for value in triple:
                check_number(name, value, -1e6, 1e6)
        if 0 in self.scale:
            raise InvalidInput("scale: 0 would hide the pixels from the model")

    @property
    def value_range(self) -> tuple[float, float]:
        """The smallest and the largest value that a pixel of 0..255 can become, over all planes."""
        ends = [(pixel - mean) * scale for mean, scale in zip(self.mean, self.scale, strict=True) for pixel in (0, 255)]
        return min(ends), max(ends)


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """How crops become a window.

    Attributes:
        frames: crops in a window; 1 is a per-frame model.
        sample_fps: crops a second that the model was trained on; None (only with `frames=1`): every frame.
        stride: a new window after this many sampled crops.
    """

    frames: int = 1
    sample_fps: float | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        check_whole("frames", self.frames, 1, MAX_CLIP_FRAMES)
        check_whole("stride", self.stride, 1, MAX_CLIP_FRAMES)
        if self.sample_fps is not None:
            check_number("sample_fps", self.sample_fps, 0.01, 1000.0)
        elif self.frames > 1:
            raise InvalidInput("sample_fps: a model of several frames needs the rate they were sampled at")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that must be known to turn pixels into a score.

    Attributes:
        family: name of the architecture family, or `custom`.
        crop: how crops are cut.
        clip: how windows are sampled.
        classes: what each output means, in output order: ("real", "fake"), ("fake", "real"), or for a
            single sigmoid the one class that it is the score of.
        activation: what the outputs are: `softmax` over two classes or one `sigmoid`.
        threshold: a fake score at or above it is labelled `fake`.
        temperature: divides the log-odds before they become a score; 1.0 leaves the score as trained.
    """

    family: str
    crop: CropSpec
    clip: ClipSpec
    classes: tuple[str, ...]
    activation: Activation
    threshold: float = 0.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.family, str) or not self.family or not self.family.isprintable():
            raise InvalidInput(f"family: wanted a name, got {self.family!r}")
        if not isinstance(self.crop, CropSpec) or not isinstance(self.clip, ClipSpec):
            raise InvalidInput("crop and clip: wanted a CropSpec and a ClipSpec")
        check_choice("activation", self.activation, get_args(Activation))
        wanted = 2 if self.activation == "softmax" else 1
        distinct = isinstance(self.classes, tuple) and len(set(self.classes)) == len(self.classes) == wanted
        if not distinct or not set(self.classes) <= _CLASS_NAMES:
            raise InvalidInput(
                f"classes: {self.activation} wants {wanted} of 'real' and 'fake' in output order, got {self.classes!r}"
            )
        check_number("threshold", self.threshold, 0.0, 1.0)
        check_number("temperature", self.temperature, 1e-3, 1e3)

    @property
    def fake_output(self) -> str:
        """Which output means fake, in words for people."""
        if self.activation == "softmax":
            return f"output {self.classes.index('fake')} of 2 (softmax: {', '.join(self.classes)})"
        if self.classes == ("fake",):
            return "the single output (sigmoid of fake)"
        return "1 - the single output (sigmoid of real)"

    def changed(self, values: Mapping[str, Any]) -> ModelSpec:
        """With other values, by the names of its fields and of those of its crop and clip. Raises InvalidInput."""
        names = {kind: {item.name for item in fields(kind)} for kind in (CropSpec, ClipSpec)}
        crop, clip = ({key: value for key, value in values.items() if key in known} for known in names.values())
        rest = {key: value for key, value in values.items() if key not in crop and key not in clip}
        return replace(self, crop=replace(self.crop, **crop), clip=replace(self.clip, **clip), **rest)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types; `from_json` reads it back unchanged."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: object) -> ModelSpec:
        """Read what `to_json` wrote.

        Raises:
            InvalidInput: a key is missing, unknown, or its value is of the wrong type or out of range.
        """
        table = _table("spec", value, cls)
        crop = _table("spec.crop", table["crop"], CropSpec)
        crop = {key: tuple(item) if isinstance(item, list) else item for key, item in crop.items()}
        clip = _table("spec.clip", table["clip"], ClipSpec)
        classes = table["classes"]
        names = tuple(classes) if isinstance(classes, list) else classes
        return cls(**{**table, "crop": CropSpec(**crop), "clip": ClipSpec(**clip), "classes": names})


def _table(name: str, value: object, record: type[Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name}: wanted an object, got {type(value).__name__}")
    wanted = {item.name for item in fields(record)}
    missing, extra = sorted(wanted - set(value)), sorted(set(map(str, value)) - wanted)
    if missing or extra:
        raise InvalidInput(f"{name}: missing keys {missing}, unknown keys {extra}")
    return dict(value)
