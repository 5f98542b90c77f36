"""An open GPU, TensorRT and networks on it, all over doubles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import onnxruntime
import pytest
from numpy.typing import NDArray

from deepfake_edge.cuda.device import open_device
from unit.trt.engines import Engines, exact_graph


@pytest.fixture
def engines(cuda_double, tensorrt_double) -> Iterator[Engines]:
    with open_device() as device:
        made = Engines(device, tensorrt_double, cuda_double)
        yield made
        for network in made.networks:
            network.close()
        made.nothing_is_left()


@pytest.fixture(scope="session")
def expected() -> Callable[..., dict[str, NDArray[Any]]]:
    """What ONNX Runtime gives for rows of `exact_graph`."""
    session = onnxruntime.InferenceSession(exact_graph(), providers=["CPUExecutionProvider"])

    def compute(crops: NDArray[Any]) -> dict[str, NDArray[Any]]:
        features, mirror = session.run(["features", "mirror"], {"crops": crops})
        return {"features": features, "mirror": mirror}

    return compute
