"""Which runtime computes a bundle's networks: with `choices` and `gpu` the only file that names adapters.

A choice is made aloud: its name and its reason go into the log and into every result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from deepfake_edge import gpu
from deepfake_edge.bundle import PRECISIONS, Bundle
from deepfake_edge.data import Choice
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.model import NetworkFactory, Runtime
from deepfake_edge.threads import check_threads

# `auto` takes the first of the first three that can compute the bundle here; `onnxruntime-cuda` is only named.
RUNTIMES = ("tensorrt", "openvino", "onnxruntime", "onnxruntime-cuda")
CROPS = ("cpu", "cuda")


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """What is asked of a runtime.

    Attributes:
        name: `auto`, or one of RUNTIMES.
        precision: one of PRECISIONS; None: whatever a network's graph says.
        threads: CPU threads for one call of a network; None takes one a physical core.
        device: which GPU, for the runtimes that need one; 0 is the first.
        crops: where crops are cut, `cpu` or `cuda`; the latter goes with tensorrt alone.
    Raises:
        InvalidInput: there is no such runtime, precision or place, a number is out of range, or two do not go together.
    """

    name: str = "auto"
    precision: str | None = None
    threads: int | None = None
    device: int = 0
    crops: str = "cpu"

    def __post_init__(self) -> None:
        if self.name not in ("auto", *RUNTIMES):
            raise InvalidInput(f"runtime: wanted auto or one of {', '.join(RUNTIMES)}, got {self.name!r}")
        if self.precision not in (None, *PRECISIONS):
            raise InvalidInput(f"precision: wanted one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.threads is not None:
            check_threads(self.threads)
        if isinstance(self.device, bool) or not isinstance(self.device, int) or self.device < 0:
            raise InvalidInput(f"device: wanted a GPU's number, 0 or more, got {self.device!r}")
        if self.crops not in CROPS:
            raise InvalidInput(f"crops: wanted one of {', '.join(CROPS)}, got {self.crops!r}")
        if self.crops == "cuda" and self.name != "tensorrt":
            raise InvalidInput(f"crops: cuda goes with --runtime tensorrt alone, got the runtime {self.name}")
        if self.precision == "bf16" and self.name not in ("auto", "openvino"):
            raise InvalidInput(f"precision: bf16 is computed by openvino alone, got the runtime {self.name}")


def choose_runtime(options: RuntimeOptions, bundle: Bundle | None = None) -> Runtime:
    """What runs a bundle's networks.

    Args:
        options: what is asked for.
        bundle: whose; None leaves out tensorrt, which computes nothing that was not built for this device.
    Raises:
        InvalidInput: this machine does not compute in that precision, or `tensorrt` is named without a bundle.
        MissingDependency: what is named is not installed.
        EngineMismatch: `tensorrt` is named, and no engine of the bundle fits this device.
    """
    choice = Choice(options.name, "named") if options.name != "auto" else _best(options, bundle)
    return Runtime(choice, _FACTORIES[choice.name](options, bundle))


def precisions_of(runtime: str, bundle: Bundle | None = None) -> tuple[str, ...]:
    """What a runtime computes on this machine; nothing where it is not installed.

    Args:
        runtime: one of RUNTIMES.
        bundle: only what it has of them, and for tensorrt what is built of it.
    """
    try:
        found = _precisions(runtime, bundle)
    except DeepfakeEdgeError:
        return ()
    return found if bundle is None else tuple(item for item in found if bundle.has(item))


def _precisions(runtime: str, bundle: Bundle | None) -> tuple[str, ...]:
    plain = tuple(item for item in PRECISIONS if item != "bf16")
    if runtime == "tensorrt":
        return () if bundle is None else tuple(item for item in plain if gpu.why_no_engines(bundle, item) is None)
    if runtime == "onnxruntime-cuda":
        from deepfake_edge.runtimes import ort_cuda

        return plain if ort_cuda.available() is None else ()
    if runtime == "onnxruntime":
        from deepfake_edge.runtimes import ort

        ort.version()
        return plain
    from deepfake_edge.runtimes import openvino

    return PRECISIONS if openvino.has_bf16() else plain


def _best(options: RuntimeOptions, bundle: Bundle | None) -> Choice:
    if options.precision == "bf16":
        return Choice("openvino", "auto: bf16 is computed by it alone")
    missing = None
    if bundle is not None and gpu.is_expected():
        missing = gpu.why_no_engines(bundle, options.precision, options.device)
        if missing is None:
            return Choice("tensorrt", "auto: this device's engines are in the cache")
    passed = "" if missing is None else f"; not tensorrt: {missing}"
    if precisions_of("openvino"):
        return Choice("openvino", f"auto: it is installed{passed}")
    return Choice("onnxruntime", f"auto: there is no OpenVINO, often faster, on this machine{passed}")


def _tensorrt(options: RuntimeOptions, bundle: Bundle | None) -> NetworkFactory:
    if bundle is None:
        raise InvalidInput("runtime: tensorrt computes only what was built for this device: deepfake-edge build BUNDLE")
    return gpu.engine_networks(bundle, options.precision, options.device, crops_on_device=options.crops == "cuda")


def _openvino(options: RuntimeOptions, _: Bundle | None) -> NetworkFactory:
    from deepfake_edge.runtimes.openvino import OpenVinoNetwork, check_bf16

    bf16 = options.precision == "bf16"
    if bf16:
        check_bf16()
    return lambda graph, title: OpenVinoNetwork(graph, name=title, threads=options.threads, bf16=bf16)


def _onnxruntime(options: RuntimeOptions, _: Bundle | None) -> NetworkFactory:
    from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork

    return lambda graph, title: OnnxRuntimeNetwork(graph, name=title, threads=options.threads)


def _onnxruntime_cuda(options: RuntimeOptions, _: Bundle | None) -> NetworkFactory:
    from deepfake_edge.runtimes.ort_cuda import OnnxRuntimeCudaNetwork

    return lambda graph, title: OnnxRuntimeCudaNetwork(graph, name=title, device=options.device)


_Maker: TypeAlias = Callable[[RuntimeOptions, Bundle | None], NetworkFactory]
_FACTORIES: Mapping[str, _Maker] = {
    "tensorrt": _tensorrt,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "onnxruntime-cuda": _onnxruntime_cuda,
}
