"""One stage's optimizer and its step, on all devices.

Keras's own `fit` cannot begin in the middle of an epoch with the losses so far; a run that was killed could not come
to the same result.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from deepfake_edge.data import Floats
from deepfake_edge.training import workshop
from deepfake_edge.training.feeding.batches import Batch
from deepfake_edge.training.fitting.network import Network
from deepfake_edge.training.fitting.options import Stage, TrainOptions


class Stepper:
    """Trains a model batch by batch.

    Args:
        network: whose devices and precision it has.
        model: the one that learns; the network's whole model, or its judge of single crops.
        stage: which stage this is.
        options: the run's.
        steps: of the whole stage, at most.
    """

    def __init__(self, network: Network, model: Any, stage: Stage, options: TrainOptions, steps: int) -> None:
        self._tensorflow, self._strategy, self.model = workshop.tensorflow(), network.strategy, model
        keras = workshop.keras()
        two = int(model.outputs[0].shape[-1]) == 2
        loss = keras.losses.CategoricalCrossentropy if two else keras.losses.BinaryCrossentropy
        self._loss = loss(label_smoothing=options.smoothing, reduction=None)
        with self._strategy.scope():
            self._schedule = _schedule(options, stage.rate or options.rate, steps)
            kept = {} if options.average is None else {"use_ema": True, "ema_momentum": options.average}
            self._adam = keras.optimizers.Adam(self._schedule, **kept)
            half = network.half == "float16"
            self.optimizer = keras.optimizers.LossScaleOptimizer(self._adam) if half else self._adam
            self.optimizer.build(model.trainable_variables)
        self._statistics = _moving_averages(model) if self._strategy.num_replicas_in_sync > 1 else []
        self._train = self._tensorflow.function(self._train_on_all, reduce_retracing=True)
        self._look = self._tensorflow.function(self._look_on_all, reduce_retracing=True)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return float(self._schedule(self._adam.iterations.numpy() - 1))

    def train(self, batch: Batch) -> float:
        """Learn from a batch, whose size is a multiple of the number of devices; its mean loss before that."""
        return float(self._train(*(self._split(part) for part in batch)))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the model has the moving averages of its weights, where such are kept."""
        learnt = [variable.numpy() for variable in self.model.trainable_variables] if self._adam.use_ema else []
        self._adam.finalize_variable_values(self.model.trainable_variables)
        try:
            yield
        finally:
            for variable, values in zip(self.model.trainable_variables, learnt, strict=False):
                variable.assign(values)

    def look(self, inputs: Floats) -> Floats:
        """The model's first output, (B, C), without learning."""
        devices = self._strategy.num_replicas_in_sync
        missing = -len(inputs) % devices
        filled = np.concatenate([inputs, np.repeat(inputs[-1:], missing, axis=0)]) if missing else inputs
        outputs: Floats = self._look(self._split(filled)).numpy()[: len(inputs)]
        return outputs

    def losses(self, labels: Floats, outputs: Floats) -> Floats:
        """The loss of each window, (B,)."""
        return np.asarray(self._loss(labels, outputs), np.float32)

    def _split(self, part: Any) -> Any:
        devices = self._strategy.num_replicas_in_sync
        if devices == 1:
            return part
        parts = self._tensorflow.split(part, devices)
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: parts[context.replica_id_in_sync_group]
        )

    def _train_on_all(self, inputs: Any, labels: Any, weights: Any) -> Any:
        losses = self._strategy.run(self._train_on_one, (inputs, labels, weights))
        return self._strategy.reduce("SUM", losses, axis=None)

    def _train_on_one(self, inputs: Any, labels: Any, weights: Any) -> Any:
        tensorflow, trained = self._tensorflow, self.model.trainable_variables
        whole = tensorflow.cast(tensorflow.shape(weights)[0] * self._strategy.num_replicas_in_sync, "float32")
        with tensorflow.GradientTape() as tape:
            outputs = self._outputs(inputs, training=True)
            each = sum(self._loss_of(labels, output) for output in outputs)
            loss = tensorflow.reduce_sum(each * weights) / whole
            scaled = self.optimizer.scale_loss(loss)
        self.optimizer.apply_gradients(zip(tape.gradient(scaled, trained), trained, strict=True))
        self._share_statistics()
        return loss

    def _share_statistics(self) -> None:
        """Give all devices the mean of their moving averages; each would keep those of its own shares otherwise."""
        if self._statistics:
            context = self._tensorflow.distribute.get_replica_context()
            means = context.all_reduce("MEAN", [variable.value for variable in self._statistics])
            for variable, mean in zip(self._statistics, means, strict=True):
                variable.assign(mean)

    def _loss_of(self, labels: Any, output: Any) -> Any:
        """(B,), of an output (B, C), or the mean over the frames of (B, T, C)."""
        if len(output.shape) == 2:
            return self._loss(labels, output)
        frames = self._tensorflow.repeat(labels[:, None], output.shape[1], axis=1)
        return self._tensorflow.reduce_mean(self._loss(frames, output), axis=1)

    def _look_on_all(self, inputs: Any) -> Any:
        found = self._strategy.run(lambda part: self._outputs(part, training=False)[0], (inputs,))
        return self._tensorflow.concat(self._strategy.experimental_local_results(found), axis=0)

    def _outputs(self, inputs: Any, *, training: bool) -> list[Any]:
        found: list[Any] = self._tensorflow.nest.flatten(self.model(inputs, training=training))
        return found


def _moving_averages(model: Any) -> list[Any]:
    """The means and variances that batch normalisation keeps for inference, of the layers that learn."""
    layers = [layer for layer in model._flatten_layers() if type(layer).__name__ == "BatchNormalization"]
    return [each for layer in layers if layer.trainable for each in (layer.moving_mean, layer.moving_variance)]


def _schedule(options: TrainOptions, rate: float, steps: int) -> Any:
    """The learning rate over a stage's steps: up in a straight line, then down as a cosine, or level."""
    rising = int(steps * options.warm_up)
    return workshop.keras().optimizers.schedules.CosineDecay(
        rate / (rising + 1),
        decay_steps=max(steps - rising, 1),
        alpha=0.0 if options.schedule == "cosine" else 1.0,
        warmup_target=rate if rising else None,
        warmup_steps=rising,
    )
