"""ONNX -> plan, by TensorRT's builder: the recipe for 8.5 to 11.

| | before 10 | 10 to 10.11 | from 10.12 |
|---|---|---|---|
| network | explicit batch | as it comes | strongly typed: the types in the ONNX file say what is computed in what |
| fp16, int8 | the flag allows it | the flag allows it | - |

TF32, which keeps 10 of 23 bits, is off throughout: what stands in float32 stands there to be exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from deepfake_edge.cuda.device import Device
from deepfake_edge.engines import library
from deepfake_edge.engines.library import Log, tensorrt, version, version_numbers
from deepfake_edge.engines.monitor import Monitor, Progress, monitor, watched
from deepfake_edge.engines.options import BatchProfile
from deepfake_edge.errors import BundleError, DeepfakeEdgeError, InferenceError, OutOfDeviceMemory

_TYPED_FROM = (10, 12)
# Before, an explicit batch and contexts that share a profile have to be asked for.
_MODERN_FROM = (10,)
# What TensorRT takes by default, written down so that another default is no silent change of the recipe.
_OPTIMISATION_LEVEL = 3
_LARGEST_DEFAULT_WORKSPACE = 1024**3
_SHOWN_LINES = 6


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built.

    Attributes:
        name: for messages.
        graph: serialised ONNX of one input, whose first axis is the batch.
        precision: `fp32`, `fp16` or `int8`: what the graph is made for.
        batch: for which batch sizes.
        workspace_bytes: see `options.BuildOptions`.
        timing: what earlier builds measured; empty: nothing.
    """

    name: str
    graph: bytes
    precision: str
    batch: BatchProfile
    workspace_bytes: int
    timing: bytes = b""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan, and what was measured on the way."""

    plan: bytes
    timing: bytes


def default_workspace(device: Device) -> int:
    """Half of the GPU's free memory, at most 1 GiB, in bytes: on Jetson the CPU lives on the same memory."""
    with device.current():
        free_bytes, _ = device.memory_info()
    return min(free_bytes // 2, _LARGEST_DEFAULT_WORKSPACE)


def compile_engine(order: Order, device: Device, progress: Progress | None = None) -> Compiled:
    """Build an engine; takes minutes.

    Args:
        order: what is to be built.
        device: for which GPU.
        progress: called in this thread a few times a second.
    Raises:
        MissingDependency: there is no TensorRT.
        BundleError: TensorRT cannot parse the graph; names every reason.
        OutOfDeviceMemory: the GPU's memory does not suffice.
        InferenceError: TensorRT built nothing; with its own last lines.
        DeviceLost: the GPU's context is gone.
    """
    trt = tensorrt()
    watcher = monitor(trt, order.name)

    def work() -> Compiled:
        with device.current():
            log = library.log()
            log.forget()
            try:
                return _Recipe(trt, order, log, watcher).compile()
            except (_Failed, RuntimeError, ValueError, TypeError) as error:
                if isinstance(error, DeepfakeEdgeError):
                    raise
                raise _told(order, log, str(error), device) from error
            finally:
                log.forget()

    return watched(work, watcher, progress)


class _Failed(Exception):
    """A step of the recipe gave nothing, or False."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    trt: ModuleType
    order: Order
    log: Log
    monitor: Monitor

    def compile(self) -> Compiled:
        builder = self.trt.Builder(self.log)
        network = _there(builder.create_network(_network_flags(self.trt)), "create_network")
        self._parse(network)
        config = _there(builder.create_builder_config(), "create_builder_config")
        self._configure(config)
        self._set_profile(builder, network, config)
        self._load_timing(config)
        plan = _there(builder.build_serialized_network(network, config), "build_serialized_network")
        timing = config.get_timing_cache()
        return Compiled(bytes(plan), b"" if timing is None else bytes(_there(timing.serialize(), "serialize")))

    def _parse(self, network: Any) -> None:
        parser = self.trt.OnnxParser(network, self.log)
        if parser.parse(self.order.graph):
            return
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = [f"{error.desc()} (node {error.node()})" for error in errors] or self.log.errors
        raise BundleError(
            f"{self.order.name}: TensorRT {version()} cannot parse the graph: {'; '.join(reasons)}; take another "
            "runtime, or a newer TensorRT"
        )

    def _configure(self, config: Any) -> None:
        config.set_memory_pool_limit(self.trt.MemoryPoolType.WORKSPACE, self.order.workspace_bytes)
        config.clear_flag(self.trt.BuilderFlag.TF32)
        if self.order.precision != "fp32" and not _is_typed():
            config.set_flag(getattr(self.trt.BuilderFlag, self.order.precision.upper()))
        if version_numbers() < _MODERN_FROM and hasattr(self.trt.PreviewFeature, "PROFILE_SHARING_0806"):
            config.set_preview_feature(self.trt.PreviewFeature.PROFILE_SHARING_0806, True)
        if hasattr(config, "builder_optimization_level"):
            config.builder_optimization_level = _OPTIMISATION_LEVEL
        if hasattr(config, "progress_monitor"):
            config.progress_monitor = self.monitor

    def _set_profile(self, builder: Any, network: Any, config: Any) -> None:
        if network.num_inputs != 1:
            raise BundleError(f"{self.order.name}: wanted one input, the graph has {network.num_inputs}")
        taken = network.get_input(0)
        batch, *rest = tuple(taken.shape)
        if batch != -1 or any(axis < 1 for axis in rest):
            raise BundleError(
                f"{self.order.name}: wanted an input of which only the first axis is free, it takes {(batch, *rest)}"
            )
        profile = _there(builder.create_optimization_profile(), "create_optimization_profile")
        profile.set_shape(taken.name, *((size, *rest) for size in self.order.batch.sizes))
        if config.add_optimization_profile(profile) < 0:
            raise _Failed(f"add_optimization_profile refused batches of {self.order.batch.sizes}")

    def _load_timing(self, config: Any) -> None:
        """Earlier measurements, or none: TensorRT refuses those of another version or device itself."""
        for known in (self.order.timing, b""):
            cache = config.create_timing_cache(known)
            if cache is not None and config.set_timing_cache(cache, False):
                return
        raise _Failed("set_timing_cache refused an empty cache")


def _network_flags(trt: ModuleType) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if version_numbers() < _MODERN_FROM:
        return 1 << int(flags.EXPLICIT_BATCH)
    return 1 << int(flags.STRONGLY_TYPED) if _is_typed() else 0


def _is_typed() -> bool:
    return version_numbers() >= _TYPED_FROM


def _there(value: Any, step: str) -> Any:
    if value is None:
        raise _Failed(f"{step} gave nothing")
    return value


def _told(order: Order, log: Log, what: str, device: Device) -> InferenceError:
    """What failed, in TensorRT's own words. Raises DeviceLost where the GPU itself is what failed."""
    free_bytes, total_bytes = device.memory_info()
    said = "; ".join(log.errors[-_SHOWN_LINES:]) or "nothing"
    if log.says_out_of_memory:
        return OutOfDeviceMemory(
            f"{order.name}: the GPU's memory does not suffice to build it ({free_bytes / 1024**2:.0f} of "
            f"{total_bytes / 1024**2:.0f} MiB are free now; TensorRT said: {said}); end other programs on the GPU, or "
            "give a smaller --batch or --workspace"
        )
    return InferenceError(
        f"{order.name}: TensorRT {version()} built no engine: {what}; it said: {said}; try another --precision, "
        "--batch or a larger --workspace, or another version of TensorRT"
    )
