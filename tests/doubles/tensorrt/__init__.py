"""A double of TensorRT, for tests on machines that have neither a GPU nor the library.

`install` puts a module `tensorrt` in place whose names, signatures and numbers are those of one real version (its
manifest), over a CUDA double. It builds, refuses, and computes with ONNX Runtime when the CUDA double runs the work.
What it holds to, and where it guesses:

- Names, signatures and enum values are read off the real bindings (`read_bindings.py`). What a manifest has and the
  double does not simulate raises NotImplementedError with its name.
- Log lines follow the real ones where they are known. Builds, deserialisation and calls fail as the documentation
  says: None, False or -1, with lines in the logger.
- Before version 9 two contexts of one engine share a profile only where PROFILE_SHARING_0806 was set at the build,
  and only the first context takes profile 0 by itself.
- A CUDA graph takes in an enqueue only after a plain one at the same shapes, and never one of a network with loops;
  it must not run once its context has changed.
- A context may be given memory by its caller (USER_MANAGED, or `device_memory` in 8); whatever lies there is
  overwritten by each run, and two streams may not use it at once.
- Names that the real bindings call deprecated warn.
- Half and TF32 are approximated (see `graph.py`); int8 computes what the Q/DQ graph says.
- What the real library would answer with wrong numbers or a crash goes to `errors`, and the fixture fails the test.
"""

from __future__ import annotations

import functools
import gc
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from doubles.tensorrt.api import Api
from doubles.tensorrt.driver import Driver
from doubles.tensorrt.library import Build, Library

__all__ = ["VERSIONS", "Build", "TensorRtDouble", "install", "manifest"]

VERSIONS = ("8.6", "10.3", "10.7", "10.14", "10.16", "11.0", "11.4")
POINTS = (
    "add_optimization_profile",
    "build",
    "builder",
    "combine_timing_cache",
    "create_builder_config",
    "create_execution_context",
    "create_network",
    "create_optimization_profile",
    "create_timing_cache",
    "deserialize",
    "execute_async_v3",
    "infer_shapes",
    "out_of_memory",
    "out_of_memory:build",
    "out_of_memory:create_execution_context",
    "out_of_memory:deserialize",
    "parse",
    "parser",
    "runtime",
    "serialize_timing_cache",
    "set_input_shape",
    "set_optimization_profile_async",
    "set_tensor_address",
    "set_timing_cache",
    "wrong_numbers",
)


@functools.cache
def manifest(version: str) -> dict[str, Any]:
    """The names of one version's API."""
    path = Path(__file__).resolve().parent / "manifests" / f"{version}.json"
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


class TensorRtDouble:
    """What a test sees of the double: one version of TensorRT over a CUDA double.

    Attributes:
        module: the module `tensorrt`.
        version: as in VERSIONS; `module.__version__` is the full one.
    """

    def __init__(self, version: str, cuda_double: Any) -> None:
        facts = manifest(version)
        self.version = version
        self._library = Library(version, facts, cuda_double, Driver())
        self._library.api = _api(version)
        self._library.api.library = self._library
        self.module: ModuleType = self._library.api.module

    @property
    def log(self) -> list[str]:
        """What the library said, each line `SEVERITY: text`."""
        return self._library.log

    @property
    def errors(self) -> list[str]:
        """What the real library would answer with wrong numbers or a crash."""
        return self._library.errors

    @property
    def live(self) -> Mapping[str, int]:
        """Objects of the library that Python still holds: builders, networks, configs, parsers, engines, contexts..."""
        if self._library.live:
            gc.collect()
        return dict(self._library.live)

    @property
    def builds(self) -> list[Build]:
        """Every call of `build_serialized_network`, in order."""
        return self._library.builds

    @property
    def unsupported_operators(self) -> set[str]:
        """ONNX operators that the parser shall refuse; add to it."""
        return self._library.unsupported_operators

    def slow_down(self, pause_s: float) -> None:
        """Let a build take this long for each layer."""
        self._library.pause_s = pause_s

    def fail(self, point: str, *, after: int = 0, times: int | None = 1, **how: Any) -> None:
        """Let calls fail.

        Args:
            point: one of POINTS. `out_of_memory` means the next execution context. `wrong_numbers` changes what
                engines compute, by `change(name, array) -> array`.
            after: so many calls pass first.
            times: so many calls fail then; None: all.
            how: `lines` for the log; `errors` of "parse", (node, operator, text) each; `raises` of "infer_shapes".
        """
        if point not in POINTS:
            raise ValueError(f"{point}: no such point; there are {', '.join(POINTS)}")
        self._library.fail(point, after=after, times=times, how=how)


@functools.cache
def _api(version: str) -> Api:
    """A module takes longer to make than most tests to run."""
    return Api(manifest(version), _simulated())


def _simulated() -> dict[str, type]:
    """What stands behind the module's classes; imported late, as only tests that use the double need onnx."""
    from doubles.tensorrt import building, config, context, network, parsing, running, values

    return {
        "Builder": building.Builder,
        "Dims": values.Dims,
        "EngineInspector": running.EngineInspector,
        "IBuilderConfig": config.BuilderConfig,
        "ICudaEngine": running.Engine,
        "IExecutionContext": context.ExecutionContext,
        "IHostMemory": values.HostMemory,
        "ILogger": values.Interface,
        "INetworkDefinition": network.Network,
        "IOptimizationProfile": network.OptimizationProfile,
        "IProgressMonitor": values.Interface,
        "ITensor": network.Tensor,
        "ITimingCache": config.TimingCache,
        "Logger": values.Logger,
        "OnnxParser": parsing.Parser,
        "ParserError": parsing.ParserError,
        "Runtime": running.Runtime,
    }


def install(monkeypatch: Any, version: str, cuda_double: Any) -> TensorRtDouble:
    """Put the double in the place of the module `tensorrt` until the test ends."""
    double = TensorRtDouble(version, cuda_double)
    monkeypatch.setitem(sys.modules, "tensorrt", double.module)
    return double
