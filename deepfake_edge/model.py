"""A bundle's networks put to work: crops -> features, once a crop; window of features -> score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import FRAME_OUTPUTS, Bundle
from deepfake_edge.data import Choice, Floats, Frame
from deepfake_edge.errors import BundleError, InferenceError, InvalidInput
from deepfake_edge.protocols import Array, FrameNetwork, Network, TensorSpec
from deepfake_edge.spec import CropSpec, ModelSpec

NetworkFactory: TypeAlias = Callable[[bytes, str], Network]
"""(serialised ONNX, name for messages) -> Network."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the networks, why, and how a network of a graph is made on it."""

    choice: Choice
    network: NetworkFactory

    @property
    def name(self) -> str:
        """One of `runtime_choice.RUNTIMES`."""
        return self.choice.name


_EPSILON = 1e-7
# 256 MiB: 85 crops of 512 x 512 in a fused clip network.
_MAX_WINDOW_NUMBERS = 1 << 26


class Model:
    """One variant of a bundle on one runtime; a context manager.

    The backbone meets a crop once; its features are kept by the caller and given to the head in windows.
    A per-frame model has no head: its features are its outputs. A fused clip network has no backbone: its features
    are the crops themselves, so that every window runs the whole network.

    Attributes:
        name: the bundle's.
        sha256: the bundle's.
        precision: what was asked for: `fp32`, `fp16`, `int8` or `bf16`.
        variant: the networks that give it, a name of the bundle's variants.
        spec: what the model expects.
        fused: whether it is a fused clip network.
        feature_size: numbers in one crop's features (F).
    """

    def __init__(self, bundle: Bundle, variant: str, network: NetworkFactory, precision: str | None = None) -> None:
        """Load the networks; see `golden.load_proven` for those that are to judge.

        Args:
            bundle: read, or made by the converter.
            variant: which of its variants, see `Bundle.variant_for`.
            network: makes a network of a graph, in the precision that was asked for.
            precision: what was asked for; None: what the variant is.
        Raises:
            InvalidInput: the bundle has no such variant.
            BundleError: a network does not take or give what the spec says.
        """
        if variant not in bundle.variants:
            raise InvalidInput(f"variant: {bundle.name}: this bundle has {', '.join(bundle.variants)}, got {variant!r}")
        graphs = bundle.variants[variant]
        self.name, self.sha256, self.spec = bundle.name, bundle.sha256, bundle.spec
        self.variant, self.precision = variant, precision or variant.removesuffix("-unsigned")
        self.fused = graphs.backbone is None
        self._backbone: Network | None = None
        self._head: Network | None = None
        try:
            if graphs.backbone is not None:
                self._backbone = network(graphs.backbone, f"{bundle.name} backbone ({self.precision})")
            if graphs.head is not None:
                self._head = network(graphs.head, f"{bundle.name} head ({self.precision})")
            self.feature_size = self._check()
        except BaseException:
            self.close()
            raise

    def features(self, crops: Floats) -> Floats:
        """Run the backbone.

        Args:
            crops: float32 (N, 3, S, S), normalised as the spec says.
        Returns:
            float32 (N, F); a view of the crops for a fused clip network.
        Raises:
            InferenceError: it failed, or a feature is not finite.
        """
        if self._backbone is None:
            return crops.reshape(len(crops), -1)
        (features,) = self._run(self._backbone, crops, "the backbone")
        return features

    @property
    def cuts_crops(self) -> bool:
        """Whether the backbone cuts its crops out of frames itself; see `features_of_faces`."""
        return isinstance(self._backbone, FrameNetwork)

    def features_of_faces(self, frame: Frame, boxes_xyxy: Floats, crop: CropSpec) -> Floats:
        """Run a backbone that cuts its own crops.

        Args:
            frame: whose faces they are.
            boxes_xyxy: float32 (N, 4), pixels.
            crop: how they are cut and normalised.
        Returns:
            float32 (N, F).
        Raises:
            InvalidInput: the backbone does not cut crops (`cuts_crops`), or the frame or a box is wrong.
            InferenceError: it failed, or a feature is not finite.
        """
        if not isinstance(self._backbone, FrameNetwork):
            raise InvalidInput(f"{self.name}: its backbone takes crops, not frames")
        (features,) = _finite(self._backbone.run_on_faces(frame, boxes_xyxy, crop), "the backbone")
        return features

    def outputs(self, windows: Floats) -> Floats:
        """The model's own outputs of windows: float32 (B, C); see `clip_and_frame_outputs`."""
        return self.clip_and_frame_outputs(windows)[0]

    def clip_and_frame_outputs(self, windows: Floats) -> tuple[Floats, Floats | None]:
        """Run the head.

        Args:
            windows: float32 (B, frames, F), features in time order.
        Returns:
            the model's own outputs, one column a class as in `spec.classes`: float32 (B, C) of each window, and
            float32 (B, frames, C) of each of its frames, or None where the model gives none.
        Raises:
            InferenceError: it failed, or an output is not finite.
        """
        if self._head is None:
            return np.ascontiguousarray(windows[:, -1]), None
        clip, *frames = self._run(self._head, windows, "the head")
        return clip, frames[0] if frames else None

    def scores(self, windows: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fake scores, 0 real .. 1 fake, for float32 (B, frames, F) windows; see `fake_scores`.

        Returns:
            (B,) of each window, and (B, frames) of each of its frames, or (B, 0) where the model gives none.
        """
        clip, frames = self.clip_and_frame_outputs(windows)
        if frames is None:
            return fake_scores(clip, self.spec), np.empty((len(clip), 0))
        each = fake_scores(frames.reshape(-1, frames.shape[-1]), self.spec)
        return fake_scores(clip, self.spec), each.reshape(frames.shape[:2])

    def close(self) -> None:
        """Free the networks; may be called twice."""
        for network in (self._backbone, self._head):
            if network is not None:
                network.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, network: Network, batch: Floats, what: str) -> list[Floats]:
        return _finite(network.run({network.inputs[0].name: batch}), what)

    def _check(self) -> int:
        size, frames = self.spec.crop.size_px, self.spec.clip.frames
        classes = len(self.spec.classes)
        features = 3 * size * size
        if self._backbone is not None:
            _check_ports(self._backbone, (None, 3, size, size), 1, "backbone")
            features = _columns(self._backbone, "backbone")
        if frames * features > _MAX_WINDOW_NUMBERS:
            raise BundleError(
                f"window: {frames} crops of {features} numbers each are {frames * features}, more than "
                f"{_MAX_WINDOW_NUMBERS}: no device keeps that for every face"
            )
        if self._head is None:
            if frames != 1 or features != classes:
                raise BundleError(f"backbone: {features} outputs for {frames} frames and {classes} classes, no head")
            return features
        _check_ports(self._head, (None, frames, features), 2, "head")
        if (outputs := _columns(self._head, "head")) != classes:
            raise BundleError(f"head: wanted {classes} outputs, one a class, it gives {outputs}")
        _check_frame_outputs(self._head, (None, frames, classes))
        return features


def fake_scores(outputs: Floats, spec: ModelSpec) -> NDArray[np.float64]:
    """Turn a model's outputs into fake scores.

    Args:
        outputs: float32 (B, C), probabilities as the model gives them.
        spec: says which output means fake, and the temperature T: score = sigmoid(logit(p) / T), the
            temperature scaling of Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    Returns:
        float64 (B,), 0 real .. 1 fake; unchanged probabilities when T is 1.
    """
    values = outputs.astype(np.float64)
    if spec.activation == "softmax":
        fake = values[:, spec.classes.index("fake")]
    else:
        fake = values[:, 0] if spec.classes == ("fake",) else 1.0 - values[:, 0]
    if spec.temperature == 1.0:
        return fake
    clipped = np.clip(fake, _EPSILON, 1.0 - _EPSILON)
    logits = np.log(clipped) - np.log1p(-clipped)
    return np.asarray(1.0 / (1.0 + np.exp(-logits / spec.temperature)))


def normalise(crops: NDArray[np.uint8], spec: CropSpec) -> Floats:
    """Finish crops that are already cut and resized: uint8 (N, S, S, 3) in the spec's channel order -> float32
    (N, 3, S, S), (pixel - mean) * scale.
    """
    mean, scale = np.array(spec.mean, np.float32), np.array(spec.scale, np.float32)
    values = (crops.astype(np.float32) - mean) * scale
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def _finite(given: Mapping[str, Array], what: str) -> list[Floats]:
    if not all(np.isfinite(output).all() for output in given.values()):
        raise InferenceError(f"{what} gave numbers that are not finite; nothing can be said of these crops")
    return [np.asarray(output, dtype=np.float32) for output in given.values()]


def _check_ports(network: Network, wanted: tuple[int | None, ...], most: int, what: str) -> None:
    """A network has one float32 input of the wanted shape and from one to `most` outputs."""
    taken, given = network.inputs, network.outputs
    if len(taken) != 1 or not 1 <= len(given) <= most:
        raise BundleError(
            f"{what}: wanted 1 input and {'1 output' if most == 1 else '1 or 2 outputs'}, "
            f"it has {len(taken)} and {len(given)}"
        )
    if not _fits(taken[0], wanted):
        raise BundleError(f"{what}: wanted a float32 input {wanted}, it takes {taken[0].dtype} {taken[0].shape}")


def _columns(network: Network, what: str) -> int:
    """K of a network's first output, which is (batch, K)."""
    given = network.outputs[0]
    columns = given.shape[1] if len(given.shape) == 2 else None
    if given.dtype != "float32" or columns is None:
        raise BundleError(f"{what}: wanted a float32 output (batch, K), it gives {given.dtype} {given.shape}")
    return columns


def _check_frame_outputs(head: Network, wanted: tuple[int | None, ...]) -> None:
    for given in head.outputs[1:]:
        if given.name != FRAME_OUTPUTS or not _fits(given, wanted):
            raise BundleError(
                f"head: wanted a second output {FRAME_OUTPUTS}, float32 {wanted}, "
                f"it gives {given.name}, {given.dtype} {given.shape}"
            )


def _fits(tensor: TensorSpec, wanted: tuple[int | None, ...]) -> bool:
    return tensor.dtype == "float32" and tensor.shape == wanted
