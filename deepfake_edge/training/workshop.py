"""The one door through which TensorFlow, Keras, tf2onnx and onnx come in."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from deepfake_edge.errors import InvalidInput
from deepfake_edge.optional import require

_EXTRA = "convert"


def tensorflow() -> ModuleType:
    """TensorFlow, on the CPU only and quiet.

    Parity is measured on the CPU: a GPU computes convolutions in TF32 and swaps a Keras LSTM for cuDNN's.
    The GPU is hidden from TensorFlow alone (not through CUDA_VISIBLE_DEVICES, which would hide it from a
    TensorRT runtime later in the same process).

    Raises:
        MissingDependency: it is not installed; the message names the command that brings it.
    """
    return _started(gpus=False)


def tensorflow_for_training(logical_devices: int = 1) -> ModuleType:
    """TensorFlow, quiet, on the GPUs there are, whose memory it takes as it needs it.

    Args:
        logical_devices: parts that the CPU is split into, to train on several devices where there is one.
    Raises:
        MissingDependency: it is not installed; the message names the command that brings it.
        InvalidInput: it runs in this process already, with another number of devices.
    """
    module = _started(gpus=True, logical_devices=logical_devices)
    found = len(module.config.list_logical_devices("CPU"))
    if logical_devices > 1 and found != logical_devices:
        raise InvalidInput(
            f"logical devices: wanted {logical_devices}, TensorFlow runs in this process already with {found}; "
            "train in a process of its own"
        )
    return module


def _started(*, gpus: bool, logical_devices: int = 1) -> ModuleType:
    if "tensorflow" in sys.modules:
        return sys.modules["tensorflow"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _silence():
        module = require("tensorflow", extra=_EXTRA)
        config = module.config
        if not gpus:
            config.set_visible_devices([], "GPU")
        for gpu in config.get_visible_devices("GPU"):
            config.experimental.set_memory_growth(gpu, True)
        if logical_devices > 1:
            parts = [config.LogicalDeviceConfiguration() for _ in range(logical_devices)]
            config.set_logical_device_configuration(config.list_physical_devices("CPU")[0], parts)
        # Devices are looked for now, while what is said about it is not heard.
        config.list_logical_devices()
    module.get_logger().setLevel(logging.ERROR)
    return module


def keras() -> ModuleType:
    """Keras 3 on TensorFlow. Raises MissingDependency."""
    tensorflow()
    with _silence():
        return require("keras", extra=_EXTRA)


def tf2onnx() -> ModuleType:
    """The exporter, with its messages off. Raises MissingDependency."""
    tensorflow()
    with _silence():
        module = require("tf2onnx", extra=_EXTRA)
    # What it cannot export it says in an exception as well.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL + 1)
    return module


def onnx() -> ModuleType:
    """The onnx package. Raises MissingDependency."""
    return require("onnx", extra=_EXTRA)


def h5py() -> ModuleType:
    """The HDF5 reader that Keras brings. Raises MissingDependency."""
    return require("h5py", extra=_EXTRA)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep third parties' Python warnings from the user's terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _silence() -> Iterator[None]:
    # TensorFlow writes to file descriptor 2 before any of its logging can be set up.
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as sink, quiet():
            os.dup2(sink.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(kept, 2)
    finally:
        os.close(kept)
