"""The GPU's context goes when the last device of a process is closed; what TensorRT keeps for itself must survive that.

Other tests here have a device open all the time, so that the context never goes.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest

from deepfake_edge.cuda.device import open_device
from deepfake_edge.engines.library import version
from deepfake_edge.engines.options import BatchProfile, BuildOptions
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.gpu import build_engines, engine_networks
from gpu.test_engines import FEATURE_SHARE, feeds_of, reference_of

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("nothing_open")]

PRECISION = "fp32"


@pytest.fixture
def nothing_open() -> None:
    """A GPU and TensorRT, with no device left open."""
    try:
        open_device().close()
        version()
    except DeepfakeEdgeError as error:
        pytest.skip(f"no GPU: {error}")


def heavy_graph(bundle) -> bytes:
    variant = bundle.variants[bundle.variant_for(PRECISION, "tensorrt")]
    return variant.backbone or variant.head


def agrees(network, bundle, crops) -> bool:
    feeds = feeds_of(network, bundle, crops, 2)
    found, wanted = network.run(feeds), reference_of(bundle, PRECISION).run(feeds)
    return all(
        np.abs(found[name] - value).max() <= FEATURE_SHARE[PRECISION] * np.abs(value).max()
        for name, value in wanted.items()
    )


def test_engines_are_built_and_run_again_after_everything_was_closed(bundle, crops):
    options = BuildOptions(batch=BatchProfile(1, 2, 4), force=True)
    graph = heavy_graph(bundle)
    for _ in range(2):
        build_engines(bundle, PRECISION, options)
        network = engine_networks(bundle, PRECISION)(graph, "x")
        try:
            assert agrees(network, bundle, crops)
        finally:
            network.close()
        gc.collect()


def test_one_network_runs_on_when_the_one_before_it_is_closed(bundle, crops):
    build_engines(bundle, PRECISION, BuildOptions(batch=BatchProfile(1, 2, 4)))
    graph = heavy_graph(bundle)
    make = engine_networks(bundle, PRECISION)
    first, second = make(graph, "first"), make(graph, "second")
    try:
        assert agrees(first, bundle, crops)
        first.close()
        del first
        gc.collect()
        assert agrees(second, bundle, crops)
    finally:
        second.close()
