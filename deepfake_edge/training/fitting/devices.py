"""What a run trains on."""

from __future__ import annotations

from functools import cache
from typing import Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training import workshop
from deepfake_edge.training.fitting.options import TrainOptions


def open_devices(options: TrainOptions) -> Any:
    """Start TensorFlow; a tf.distribute.Strategy over its GPUs, or over the CPU's parts, or for the one device.

    Every device has the whole model and an equal share of each batch; batch normalisation is over the share.

    Raises:
        InvalidInput: a batch cannot be shared equally, or TensorFlow runs already with other devices.
    """
    tensorflow = workshop.tensorflow_for_training(options.logical_devices)
    kind = "CPU" if options.logical_devices > 1 else "GPU"
    names = [device.name for device in tensorflow.config.list_logical_devices(kind)]
    if options.feed.batch % max(len(names), 1):
        raise InvalidInput(
            f"batch: wanted a multiple of {len(names)}, for {len(names)} devices train, got {options.feed.batch}"
        )
    return _mirrored(*names) if len(names) > 1 else tensorflow.distribute.get_strategy()


@cache
def _mirrored(*names: str) -> Any:
    """The one strategy of these devices: a second one in a process would number its sums as the first does."""
    return workshop.tensorflow().distribute.MirroredStrategy(names)


def in_words(strategy: Any) -> str:
    """The devices, for people."""
    count = strategy.num_replicas_in_sync
    gpus = len(workshop.tensorflow().config.list_logical_devices("GPU"))
    if count > 1:
        return f"{count} {'GPUs' if gpus >= count else 'parts of the CPU'}"
    return "the GPU" if gpus else "the CPU"
