"""A bundle's networks put to work: crops -> features, once a crop; window of features -> score."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.bundle import Bundle
from deepfake_edge.data import Floats
from deepfake_edge.errors import BundleError, InferenceError, InvalidInput
from deepfake_edge.protocols import Network, TensorSpec
from deepfake_edge.spec import CropSpec, ModelSpec

NetworkFactory: TypeAlias = Callable[[bytes, str], Network]
"""(serialised ONNX, name for messages) -> Network."""

_EPSILON = 1e-7


class Model:
    """One variant of a bundle on one runtime; a context manager.

    The backbone meets a crop once; its features are kept by the caller and given to the head in windows.
    A per-frame model has no head: its features are its outputs.
    """

    def __init__(self, bundle: Bundle, precision: str, network: NetworkFactory) -> None:
        """Load the networks.

        Raises:
            InvalidInput: the bundle has no such variant.
            BundleError: a network does not take or give what the spec says.
        """
        if precision not in bundle.variants:
            raise InvalidInput(f"precision: this bundle has {', '.join(bundle.variants)}, got {precision!r}")
        variant = bundle.variants[precision]
        self.spec: ModelSpec = bundle.spec
        self.precision = precision
        self._head: Network | None = None
        self._backbone = network(variant.backbone, f"{bundle.name} backbone ({precision})")
        try:
            if variant.head is not None:
                self._head = network(variant.head, f"{bundle.name} head ({precision})")
            self.feature_size = self._check()
        except BaseException:
            self.close()
            raise

    def features(self, crops: Floats) -> Floats:
        """Run the backbone.

        Args:
            crops: float32 (N, 3, S, S), normalised as the spec says.
        Returns:
            float32 (N, F).
        Raises:
            InferenceError: it failed, or a feature is not finite.
        """
        return self._run(self._backbone, crops, "the backbone")

    def outputs(self, windows: Floats) -> Floats:
        """Run the head.

        Args:
            windows: float32 (B, frames, F), features in time order.
        Returns:
            float32 (B, C): the model's own outputs, one column a class as in `spec.classes`.
        Raises:
            InferenceError: it failed, or an output is not finite.
        """
        if self._head is None:
            return np.ascontiguousarray(windows[:, -1])
        return self._run(self._head, windows, "the head")

    def scores(self, windows: Floats) -> NDArray[np.float64]:
        """Fake scores (B,), 0 real .. 1 fake, for float32 (B, frames, F) windows; see `fake_scores`."""
        return fake_scores(self.outputs(windows), self.spec)

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

    def _run(self, network: Network, batch: Floats, what: str) -> Floats:
        (output,) = network.run({network.inputs[0].name: batch}).values()
        if not np.isfinite(output).all():
            raise InferenceError(f"{what} gave numbers that are not finite; nothing can be said of these crops")
        return np.asarray(output, dtype=np.float32)

    def _check(self) -> int:
        size, frames = self.spec.crop.size_px, self.spec.clip.frames
        classes = len(self.spec.classes)
        features = _only_axis(self._backbone, (None, 3, size, size), "backbone")
        if self._head is None:
            if frames != 1 or features != classes:
                raise BundleError(f"backbone: {features} outputs for {frames} frames and {classes} classes, no head")
            return features
        outputs = _only_axis(self._head, (None, frames, features), "head")
        if outputs != classes:
            raise BundleError(f"head: wanted {classes} outputs, one a class, it gives {outputs}")
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


def _only_axis(network: Network, wanted: tuple[int | None, ...], what: str) -> int:
    """Check that a network has one input of the wanted shape and one (batch, K) output; return K."""
    taken, given = network.inputs, network.outputs
    if len(taken) != 1 or len(given) != 1:
        raise BundleError(f"{what}: wanted one input and one output, it has {len(taken)} and {len(given)}")
    if not _fits(taken[0], wanted):
        raise BundleError(f"{what}: wanted a float32 input {wanted}, it takes {taken[0].dtype} {taken[0].shape}")
    shape = given[0].shape
    if given[0].dtype != "float32" or len(shape) != 2 or shape[1] is None:
        raise BundleError(f"{what}: wanted a float32 output (batch, K), it gives {given[0].dtype} {shape}")
    return shape[1]


def _fits(tensor: TensorSpec, wanted: tuple[int | None, ...]) -> bool:
    return tensor.dtype == "float32" and tensor.shape == wanted
