"""A double of onnxruntime-gpu for machines without a GPU: the CUDA provider's words, the CPU provider's numbers.

Held to what onnxruntime-gpu 1.31.1 does: its provider is listed whether or not it works; an unknown provider option is
refused; memory on "cuda" is allocated by number of device; a session that asks for no fallback gets none.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import onnxruntime
import pytest

from deepfake_edge.runtimes import ort_cuda

PROVIDER = "CUDAExecutionProvider"
OPTIONS = {"device_id", "use_tf32", "cudnn_conv_algo_search", "arena_extend_strategy"}


class OnnxRuntimeCudaDouble(ModuleType):
    """Put in the place of `onnxruntime`.

    Attributes:
        devices: how many GPUs there are.
        allocated: how often device memory was taken.
        fault: what the next run raises.
        settings: the provider options of each session.
        entries: the configuration of each session.
    """

    def __init__(self) -> None:
        super().__init__("onnxruntime")
        self.devices = 1
        self.allocated = 0
        self.fault: Exception | None = None
        self.settings: list[dict[str, str]] = []
        self.entries: list[dict[str, str]] = []
        self.OrtValue = _values(self)
        self.__version__ = onnxruntime.__version__
        self.__file__ = onnxruntime.__file__

    def __getattr__(self, name: str):
        """Whatever has nothing to do with CUDA is the real one."""
        return getattr(onnxruntime, name)

    def get_available_providers(self) -> list[str]:
        return [PROVIDER, "CPUExecutionProvider"]

    def set_default_logger_severity(self, severity: int) -> None:
        assert severity in range(5)

    def InferenceSession(self, graph, options=None, *, providers, enable_fallback=1):
        if providers == ["CPUExecutionProvider"]:
            return onnxruntime.InferenceSession(graph, options, providers=providers)
        ((provider, settings),) = providers
        assert provider == PROVIDER
        assert set(settings) <= OPTIONS, "Unknown provider option"
        assert not enable_fallback, "the CPU would be taken, and a line printed"
        if int(settings["device_id"]) >= self.devices:
            raise RuntimeError("x.cc:63 f() CUDA failure 101: invalid device ordinal ; GPU=-1 ; hostname=h ; file=x.cc")
        self.settings.append(settings)
        return _Session(self, graph, options)


class _Session:
    """A session that says CUDA and computes on the CPU."""

    def __init__(self, module: OnnxRuntimeCudaDouble, graph: bytes, options: onnxruntime.SessionOptions) -> None:
        plain = onnxruntime.SessionOptions()
        plain.log_severity_level = 4
        self._inner = onnxruntime.InferenceSession(graph, plain, providers=["CPUExecutionProvider"])
        self._module = module
        self.get_inputs, self.get_outputs = self._inner.get_inputs, self._inner.get_outputs
        self.io_binding = self._inner.io_binding
        name = "session.disable_cpu_ep_fallback"
        module.entries.append({name: options.get_session_config_entry(name) if len(graph) > 200 else ""})

    def get_providers(self) -> list[str]:
        return [PROVIDER, "CPUExecutionProvider"]

    def run(self, names, feeds):
        return self._inner.run(names, feeds)

    def run_with_iobinding(self, binding) -> None:
        fault, self._module.fault = self._module.fault, None
        if fault is not None:
            raise fault
        self._inner.run_with_iobinding(binding)


def _values(module: OnnxRuntimeCudaDouble):
    class OrtValue:
        @staticmethod
        def ortvalue_from_shape_and_type(shape, kind, device_type, device):
            assert device_type == "cuda"
            assert device < module.devices
            module.allocated += 1
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)
            # Fresh memory of a device holds anything.
            value.update_inplace(np.full(shape, np.nan, kind))
            return value

    return OrtValue


def install(monkeypatch: pytest.MonkeyPatch) -> OnnxRuntimeCudaDouble:
    """Put the double in the place of onnxruntime; the libraries behind the provider count as found."""
    double = OnnxRuntimeCudaDouble()
    monkeypatch.setitem(sys.modules, "onnxruntime", double)
    monkeypatch.setattr(ort_cuda, "_missing_library", lambda ort: None)
    return double
