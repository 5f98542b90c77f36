"""What runs on an NVIDIA GPU: the CUDA layer, the engines and the TensorRT runtime, put together.

With `choices` and `runtime_choice` the only file that names adapters.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from deepfake_edge.bundle import Bundle
from deepfake_edge.errors import DeepfakeEdgeError, EngineMismatch, InvalidInput
from deepfake_edge.model import NetworkFactory
from deepfake_edge.protocols import Network

if TYPE_CHECKING:
    from deepfake_edge.cuda.device import Device
    from deepfake_edge.engines.build import BuildReport
    from deepfake_edge.engines.identity import Part
    from deepfake_edge.engines.monitor import Progress
    from deepfake_edge.engines.options import BuildOptions
    from deepfake_edge.engines.store import StoredEngine


def is_expected() -> bool:
    """Whether whoever set up this machine means to use TensorRT: its Python module is installed."""
    return importlib.util.find_spec("tensorrt") is not None


def build_engines(
    bundle: Bundle,
    precision: str | None = None,
    options: BuildOptions | None = None,
    ordinal: int = 0,
    progress: Progress | None = None,
) -> BuildReport:
    """Build a bundle's engines for a device, prove them on its golden crops, and keep them in the cache.

    Args:
        bundle: as it was read.
        precision: `fp32`, `fp16` or `int8`; None takes the first that the bundle has.
        options: batches and memory; None takes the defaults.
        ordinal: which GPU.
        progress: told how far it is.
    Raises:
        InvalidInput: the bundle has no such precision, or there is no such GPU.
        MissingDependency: TensorRT, a CUDA binding or the driver is not installed.
        InferenceError: TensorRT cannot build it, or what it built does not say what the bundle says; nothing is kept.
    """
    from deepfake_edge.cuda.device import open_device
    from deepfake_edge.engines.build import build_engines as build
    from deepfake_edge.engines.options import BuildOptions
    from deepfake_edge.runtimes.trt import TensorRtNetwork

    with open_device(ordinal) as device:
        return build(
            bundle,
            precision,
            options or BuildOptions(),
            device,
            lambda plan, title: TensorRtNetwork(plan, device, name=title, lanes=1),
            progress,
        )


def why_no_engines(bundle: Bundle, precision: str | None, ordinal: int = 0) -> str | None:
    """Why TensorRT cannot compute a bundle on a device now; None: all its engines are in the cache and fit.

    Args:
        bundle: as it was read.
        precision: one of `bundle.PRECISIONS`; None takes the first that the bundle has.
        ordinal: which GPU.
    """
    from deepfake_edge.cuda.device import open_device
    from deepfake_edge.engines.identity import parts_of
    from deepfake_edge.engines.store import EngineStore

    store = EngineStore()
    try:
        parts = parts_of(bundle, precision)
        # Before the GPU is opened and TensorRT loaded, which take their time.
        for part in parts:
            if (why := store.why_never(part)) is not None:
                return f"{bundle.name} {part.name}: {why}"
        with open_device(ordinal) as device:
            for part in parts:
                _engine(bundle, part, device)
    except DeepfakeEdgeError as error:
        return str(error)
    return None


def engine_networks(
    bundle: Bundle, precision: str | None, ordinal: int = 0, *, crops_on_device: bool = False
) -> NetworkFactory:
    """Networks that run a bundle's engines; each holds the device for itself, and lets go of it when it is closed.

    Args:
        bundle: as it was read.
        precision: one of `bundle.PRECISIONS`; None takes the first that the bundle has.
        ordinal: which GPU.
        crops_on_device: the backbone cuts its own crops, see `protocols.FrameNetwork`.
    Returns:
        a factory; it raises EngineMismatch where a graph has no engine that fits the device.
    Raises:
        InvalidInput: TensorRT does not compute in it, the bundle does not have it, or there is no backbone to cut
            crops for.
    """
    from deepfake_edge.cuda.device import open_device
    from deepfake_edge.engines.identity import parts_of
    from deepfake_edge.runtimes.cropping import CroppingNetwork
    from deepfake_edge.runtimes.trt import TensorRtNetwork

    parts = {part.graph: part for part in parts_of(bundle, precision)}
    if crops_on_device and not any(part.name == "backbone" for part in parts.values()):
        raise InvalidInput(f"crops: {bundle.name} is a fused clip network, which keeps crops on the CPU; take cpu")

    def network(graph: bytes, title: str) -> Network:
        part, device = parts[graph], open_device(ordinal)
        try:
            plan = _engine(bundle, part, device).plan
        except BaseException:
            device.close()
            raise
        engine = TensorRtNetwork(plan, device, name=title, on_close=device.close)
        if crops_on_device and part.name == "backbone":
            return CroppingNetwork(engine, device, bundle.spec.crop)
        return engine

    return network


def _engine(bundle: Bundle, part: Part, device: Device) -> StoredEngine:
    from deepfake_edge.engines.identity import platform_of
    from deepfake_edge.engines.store import EngineStore

    store, identity = EngineStore(), part.identity(platform_of(device.facts))
    found = store.find(identity)
    if found is None:
        raise EngineMismatch(f"{bundle.name} {part.name}: {store.why_not(identity)}")
    return found
