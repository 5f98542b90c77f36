"""ONNX Runtime on an NVIDIA GPU, through its CUDA provider and never on the CPU in its place.

https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from deepfake_edge.cuda.context import kind_of_failure
from deepfake_edge.errors import BundleError, DeviceLost, InferenceError, MissingDependency, OutOfDeviceMemory
from deepfake_edge.optional import require
from deepfake_edge.ort_session import BoundSession, gist, session_options
from deepfake_edge.protocols import Array

_PROVIDER = "CUDAExecutionProvider"
# `use_tf32` is known from here on.
_OLDEST = (1, 18)
# ONNX, opset 17: `y`, a convolution (which needs cuDNN, too) of `x`, float32 (1, 1, 2, 2).
_PROBE = bytes.fromhex(
    "08083a630a0f0a01780a01771201792204436f6e761201702a13080108010801080110014201774a04000000405a1b0a0178"
    "12160a14080112100a0208010a0208010a0208020a020802621b0a017912160a14080112100a0208010a0208010a0208020a"
    "02080242040a001011"
)
_FULL = re.compile(r"out of memory|ALLOC(ATION)?_FAILED|Failed to allocate memory|Available memory of", re.IGNORECASE)
_CODE = re.compile(r"CUDA failure (\d+)")
_FAILURE = re.compile(r"CU\w+ failure \d+: [^;\n]*[^;\n ]")


class OnnxRuntimeCudaNetwork:
    """A graph on ONNX Runtime's CUDA provider; implements `protocols.Network`.

    `run` may be called from several threads at once. Axis 0 of every input and output is the batch; a batch is
    computed in pieces of at most 16.
    """

    def __init__(self, graph: bytes, *, name: str, device: int = 0) -> None:
        """Load a graph.

        Args:
            graph: serialised ONNX, already checked by `onnx_wire.check_onnx`.
            name: what to call it in messages.
            device: which GPU, counted as CUDA counts them.
        Raises:
            MissingDependency: this ONNX Runtime, or this machine, has no CUDA; says what brings it.
            BundleError: ONNX Runtime refuses the graph, or has no CUDA kernel for a part of it.
            OutOfDeviceMemory, DeviceLost: the GPU is full, or lost.
        """
        reason = available(device)
        if reason is not None:
            raise MissingDependency(f"onnxruntime-cuda: {reason}")
        ort = require("onnxruntime")
        options = session_options(ort)
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._name = name
        try:
            session = _session(ort, graph, options, device)
            self._bound: BoundSession | None = BoundSession(ort, session, ("cuda", device))
        except Exception as error:
            raise _typed(error, BundleError, f"{name}: ONNX Runtime refuses the graph on CUDA") from error
        self.inputs = self._bound.inputs
        self.outputs = self._bound.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output.

        Raises:
            InferenceError: it is closed, the feeds do not fit, or ONNX Runtime fails; OutOfDeviceMemory and DeviceLost
                are two of them.
        """
        bound = self._bound
        if bound is None:
            raise InferenceError(f"{self._name}: is closed")
        try:
            return bound.run(feeds)
        except Exception as error:
            raise _typed(error, InferenceError, f"{self._name}: ONNX Runtime failed on CUDA") from error

    def close(self) -> None:
        """Free the session and its buffers, once the calls that run have ended; may be called twice."""
        self._bound = None


def available(device: int = 0) -> str | None:
    """Why ONNX Runtime cannot compute on a GPU here, with the command that helps; None: it can.

    A small graph is run to find out: what the package lists is what it was compiled with, not what works here.
    """
    try:
        ort = require("onnxruntime")
    except MissingDependency as error:
        return str(error)
    if _PROVIDER not in ort.get_available_providers():
        return f"this onnxruntime ({ort.__version__}) was built without CUDA. {_package_advice()}"
    if tuple(map(int, ort.__version__.split(".")[:2])) < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        return f"wanted onnxruntime {wanted} or newer, found {ort.__version__}. {_package_advice()}"
    return _missing_library(ort) or _failing_probe(ort, device)


def _missing_library(ort: ModuleType) -> str | None:
    """What the provider's library misses, in the loader's own words, which ONNX Runtime writes to its log alone."""
    folder = Path(str(ort.__file__)).parent / "capi"
    # From 1.21 on it finds the libraries of NVIDIA's Python packages; what it prints is said below.
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):
            ort.preload_dlls()
    try:
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))
    except OSError as error:
        if "libcuda.so" in str(error):
            return f"there is no NVIDIA driver on this machine ({error}). See: deepfake-edge doctor"
        built = getattr(ort, "cuda_version", "") or "12"
        return f"onnxruntime-gpu {ort.__version__} wants CUDA {built} and cuDNN 9 ({error}). {_package_advice()}"
    return None


def _failing_probe(ort: ModuleType, device: int) -> str | None:
    # 2, warnings, is what it starts with; it cannot be asked for what it stands at.
    ort.set_default_logger_severity(4)
    try:
        session = _session(ort, _PROBE, session_options(ort), device)
        session.run(None, {"x": np.zeros((1, 1, 2, 2), np.float32)})
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return f"CUDA does not compute on GPU {device}: {_failure(error)}. See: deepfake-edge doctor"
    finally:
        ort.set_default_logger_severity(2)
    return None


def _session(ort: ModuleType, graph: bytes, options: Any, device: int) -> Any:
    """A session on CUDA. Raises RuntimeError where it is on another provider, and what ONNX Runtime raises."""
    settings = {
        "device_id": str(device),
        # TF32 keeps 10 bits of a float32's 23.
        "use_tf32": "0",
        # The default times every algorithm again for each new batch size, and may settle on another each time.
        "cudnn_conv_algo_search": "HEURISTIC",
        # The default doubles what is held at each step.
        "arena_extend_strategy": "kSameAsRequested",
    }
    # Without the last one it prints the error and goes on with the CPU.
    session = ort.InferenceSession(graph, options, providers=[(_PROVIDER, settings)], enable_fallback=0)
    found = session.get_providers()
    if _PROVIDER not in found:
        raise RuntimeError(f"wanted {_PROVIDER}, got {', '.join(found)}: no such GPU, or a driver that is too old")
    return session


def _typed(error: Exception, otherwise: type[Exception], what: str) -> Exception:
    code = _CODE.search(str(error))
    if code and kind_of_failure(int(code[1])) is DeviceLost:
        return DeviceLost(f"{what}: {_failure(error)}; nothing on this GPU works in this process any more: restart it")
    if _FULL.search(str(error)):
        return OutOfDeviceMemory(f"{what}: the GPU has too little memory left: {_failure(error)}")
    return otherwise(f"{what}: {_failure(error)}")


def _failure(error: Exception) -> str:
    """What CUDA, cuDNN or cuBLAS says, without the places in ONNX Runtime's source around it."""
    found = _FAILURE.search(str(error))
    return found[0] if found else gist(error)


def _package_advice() -> str:
    if platform.machine() == "aarch64":
        return "PyPI has no onnxruntime-gpu for Jetson; docs/jetson.md says what there is"
    return "Try: pip uninstall -y onnxruntime onnxruntime-gpu; pip install 'onnxruntime-gpu[cuda,cudnn]'"
