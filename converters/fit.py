"""Which reading of a model fits clips whose truth is known: class order, pixel values, colour order.

None of these can be read off a network, and a wrong one gives scores that look like scores. So the finished
networks run on labelled clips under every usual combination. The clips that it gets right say which fits best; the
mean log-loss (Good, "Rational Decisions", 1952: -log of the probability given to the truth) is shown beside them but
decides nothing by itself, since pixel values that are too large drive scores to 0 and 1 and flatter it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from deepfake_edge.bundle import Bundle
from deepfake_edge.data import Floats, Pixels
from deepfake_edge.errors import InferenceError, InvalidInput
from deepfake_edge.model import Model, fake_scores, normalise
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import ChannelOrder, CropSpec, ModelSpec, Triple
from deepfake_edge.training.face_crops import clip_windows

Truth: TypeAlias = Literal["real", "fake"]
LabelledClip: TypeAlias = tuple[Path, Truth]

_LEAST = 1e-6
_BATCH = 8
# (pixel - mean) * scale, per plane in RGB order.
_RANGES: tuple[tuple[str, Triple, Triple], ...] = (
    ("-1..1", (127.5,) * 3, (1 / 127.5,) * 3),
    ("0..1", (0.0,) * 3, (1 / 255,) * 3),
    ("0..255", (0.0,) * 3, (1.0,) * 3),
    ("ImageNet mean and deviation", (123.675, 116.28, 103.53), (1 / 58.395, 1 / 57.12, 1 / 57.375)),
    ("ImageNet mean taken off 0..255", (123.68, 116.779, 103.939), (1.0,) * 3),
)


@dataclass(frozen=True, slots=True)
class Fit:
    """How one reading fits the labelled clips.

    Attributes:
        pixels: the range of values that go in, in words.
        crop: the crop spec of it.
        classes: what each output means.
        right: clips on the right side of the threshold.
        clips: clips in all.
        log_loss: mean over the clips; 0 is perfect, 0.693 is a coin.
        chosen: whether the bundle was written with it.
    """

    pixels: str
    crop: CropSpec
    classes: tuple[str, ...]
    right: int
    clips: int
    log_loss: float
    chosen: bool

    @property
    def options(self) -> str:
        """The options of `convert` that ask for it."""
        mean, scale = (",".join(f"{value:.6g}" for value in triple) for triple in (self.crop.mean, self.crop.scale))
        order = f"--spec channel_order={self.crop.channel_order}"
        return f"--classes {','.join(self.classes)} {order} --spec mean={mean} --spec scale={scale}"


def compare_fits(bundle: Bundle, labelled: Sequence[LabelledClip]) -> tuple[tuple[Fit, ...], tuple[str, ...]]:
    """Try every reading on clips of known truth.

    Args:
        bundle: as converted; its own reading is among those tried.
        labelled: clips or pictures with a face, and whether it is real or fake.
    Returns:
        a fit for each reading: those with more clips right first, then the bundle's own, then by log-loss; and
        what a user should know of them.
    Raises:
        InvalidInput: a clip shows no face, a label is none, or a clip has two.
        SourceError: a clip cannot be read.
    """
    spec = bundle.spec
    truths = [truth for _, truth in labelled]
    if not set(truths) <= {"real", "fake"}:
        raise InvalidInput(f"check: a label is real or fake, got {', '.join(truths)}")
    if len({path.resolve() for path, _ in labelled}) < len(labelled):
        raise InvalidInput("check: a clip is given twice")
    clips = [clip_windows(path, spec.crop, spec.clip) for path, _ in labelled]
    fits: list[Fit] = []
    with Model(bundle, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as model:
        for pixels, crop in _readings(spec.crop):
            outputs = [_outputs(model, clip.crops, clip.windows, spec.crop, crop) for clip in clips]
            for classes in _orders(spec):
                read = replace(spec, crop=crop, classes=classes)
                chosen = (crop, classes) == (spec.crop, spec.classes)
                fits.append(_fit(pixels, read, outputs, truths, chosen))
    fits.sort(key=lambda fit: (-fit.right, not fit.chosen, fit.log_loss))
    return tuple(fits), tuple(_warnings(fits, truths, sum(clip.bare for clip in clips)))


def _warnings(fits: Sequence[Fit], truths: Sequence[Truth], bare: int) -> Iterator[str]:
    chosen = next(fit for fit in fits if fit.chosen)
    best = fits[0]
    if best.right > chosen.right:
        yield (
            f"the way the pixels and classes are read gets {chosen.right} of {chosen.clips} labelled clips right, "
            f"another {best.right}: {best.options}"
        )
    if len(set(truths)) < 2:
        yield f"all labelled clips are {truths[0]}: a model that always says so fits them too; give both kinds"
    if bare:
        yield f"{bare} labelled pictures show no face that could be found; taken as ready crops"


def _readings(own: CropSpec) -> Iterator[tuple[str, CropSpec]]:
    known = False
    for name, mean, scale in _RANGES:
        for order in get_args(ChannelOrder):
            values = (mean, scale) if order == "rgb" else (_reversed(mean), _reversed(scale))
            same = order == own.channel_order and np.allclose(values, (own.mean, own.scale), rtol=1e-3)
            known = known or same
            yield name, own if same else replace(own, channel_order=order, mean=values[0], scale=values[1])
    if not known:
        yield "as given", own


def _reversed(triple: Triple) -> Triple:
    first, second, third = triple
    return third, second, first


def _orders(spec: ModelSpec) -> tuple[tuple[str, ...], ...]:
    return (("real", "fake"), ("fake", "real")) if spec.activation == "softmax" else (("fake",), ("real",))


def _outputs(model: Model, crops: Pixels, windows: np.ndarray, cut: CropSpec, read: CropSpec) -> Floats | None:
    """The model's outputs for crops that were cut in one channel order and are read in another; None: not finite."""
    turned = crops if cut.channel_order == read.channel_order else crops[..., ::-1]
    try:
        features = np.concatenate(
            [model.features(normalise(turned[at : at + _BATCH], read)) for at in range(0, len(turned), _BATCH)]
        )
        return np.concatenate([model.outputs(features[window][None]) for window in windows])
    except InferenceError:
        return None


def _fit(pixels: str, spec: ModelSpec, outputs: Sequence[Floats | None], truths: Sequence[Truth], chosen: bool) -> Fit:
    losses, right = [], 0
    for values, truth in zip(outputs, truths, strict=True):
        score = 0.5 if values is None else float(fake_scores(values, spec).mean())
        given = score if truth == "fake" else 1.0 - score
        losses.append(-np.log(max(given, _LEAST)) if values is not None else -np.log(_LEAST))
        right += values is not None and (score >= spec.threshold) == (truth == "fake")
    return Fit(pixels, spec.crop, spec.classes, right, len(truths), float(np.mean(losses)), chosen)
