"""The Keras models of a run: the one in training, on its devices, and the float32 one that is saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deepfake_edge.converters.failures import last_line
from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.training import workshop
from deepfake_edge.training.fitting.options import Kind
from deepfake_edge.training.fitting.plan import Plan
from deepfake_edge.training.layerwise import endings, is_model

# Backbones of families that Keras has ImageNet's weights for, by the name of the nested model.
_IMAGENET = {"xception": "Xception", "resnet50": "ResNet50"}
_JUDGE_DROPOUT = 0.3


class Network:
    """A family's model in training.

    Args:
        plan: what is trained.
        strategy: the tf.distribute.Strategy whose devices it is on.
        mixed: compute in half precision: float16 on GPUs, bfloat16 on CPUs.
    Attributes:
        model: the whole model.
        half: the half precision that is computed in; None: float32.
    Raises:
        InvalidInput: the family cannot be built in these sizes.
    """

    def __init__(self, plan: Plan, strategy: Any, *, mixed: bool) -> None:
        self._keras = workshop.keras()
        self._plan, self.strategy = plan, strategy
        gpus = workshop.tensorflow().config.list_logical_devices("GPU")
        self.half = ("float16" if gpus else "bfloat16") if mixed else None
        with strategy.scope(), self._policy():
            self.model = _built(plan)
        self._plain: Any = None
        # Half a probability is too coarse for a loss.
        for layer in endings(self.model) if mixed else ():
            layer.dtype_policy = self._keras.DTypePolicy("float32")

    def judge(self) -> Any:
        """A model of single crops (B, S, S, 3) that shares the backbone's layers, and ends as the whole one does."""
        layers, ends = self._keras.layers, endings(self.model)
        shape = tuple(self.model.inputs[0].shape)[2:]
        with self.strategy.scope(), self._policy():
            crops = self._keras.Input(shape)
            values = crops
            for layer in _per_frame(self.model):
                if layer.layer not in ends:
                    values = layer.layer(values)
            features = layers.Dropout(_JUDGE_DROPOUT)(layers.Flatten()(values))
            classes, activation = len(self._plan.spec.classes), self._plan.spec.activation
            scores = layers.Dense(classes, activation=activation, dtype="float32")(features)
            return self._keras.Model(crops, scores, name="judge")

    def freeze(self, kind: Kind) -> None:
        """Say which layers learn: every one, or for `head` those behind the backbone alone."""
        for layer in _backbone(self.model):
            layer.trainable = kind != "head"

    def take_imagenet(self) -> None:
        """Give the backbone ImageNet's weights, which Keras fetches from the network or finds in its cache.

        Raises:
            InvalidInput: there are none for this family.
            MissingDependency: they cannot be fetched.
        """
        backbone = next((layer for layer in _backbone(self.model) if layer.name in _IMAGENET), None)
        if backbone is None:
            raise InvalidInput(f"imagenet: there are no ImageNet weights for {self._plan.family.name}; leave it out")
        name = _IMAGENET[backbone.name]
        build: Callable[..., Any] = getattr(self._keras.applications, name)
        try:
            source = build(include_top=False, weights="imagenet", input_shape=(None, None, 3))
        except Exception as error:
            raise MissingDependency(
                f"imagenet: the weights of {name} cannot be fetched ({last_line(error)}); train where the network "
                "allows it, or leave --imagenet out to start from random weights"
            ) from error
        backbone.set_weights(source.get_weights())

    def save(self) -> bytes:
        """The whole model as a float32 `.keras` file, without an optimizer."""
        if self._plain is None:
            self._plain = _built(self._plan)
        self._plain.set_weights(self.model.get_weights())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            self._plain.save(path)
            return path.read_bytes()

    @contextmanager
    def _policy(self) -> Iterator[None]:
        kept = self._keras.config.dtype_policy()
        self._keras.config.set_dtype_policy(f"mixed_{self.half}" if self.half else "float32")
        try:
            yield
        finally:
            self._keras.config.set_dtype_policy(kept)


def _built(plan: Plan) -> Any:
    try:
        return plan.family.build(**plan.sizes)
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        sizes = ", ".join(f"{key}={value}" for key, value in plan.sizes.items())
        raise InvalidInput(f"family {plan.family.name}: cannot be built with {sizes} ({last_line(error)})") from error


def _per_frame(model: Any) -> list[Any]:
    """The layers of a clip model that see every frame on its own, in their order."""
    return [layer for layer in model.layers if type(layer).__name__ == "TimeDistributed"]


def _backbone(model: Any) -> list[Any]:
    """What `head` keeps as it is: a nested network; else all that sees frames on their own; else all but Dense."""
    frames = [layer.layer for layer in _per_frame(model)]
    nested = [layer for layer in frames if is_model(layer)]
    return nested or frames or [layer for layer in model.layers if type(layer).__name__ != "Dense"]
