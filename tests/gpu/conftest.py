"""For tests on a real GPU: what they share, and the table that they print at the end.

    pytest -m gpu

In one process (tests/conftest.py sees to it), since they measure time and memory of one GPU. Nothing here runs without
a GPU: each test is skipped with the reason. `DEEPFAKE_EDGE_TEST_BUNDLE=model.dfe` adds a bundle of full size, made by
`deepfake-edge convert`.

`DEEPFAKE_EDGE_GPU_TESTS_OVER_DOUBLES=10.3` puts the doubles of the CUDA driver, of that version of TensorRT and of
ONNX Runtime's CUDA provider in place: it shows that these tests are not broken, and nothing about a GPU. Its figures
say "double". `test_kernel.py` moves gigabytes, which takes the doubles too long: leave it out there with `--ignore`.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from deepfake_edge import __version__
from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.cli.jetpack import find_jetson
from deepfake_edge.cuda.device import Device, open_device
from deepfake_edge.engines.library import version
from deepfake_edge.errors import DeepfakeEdgeError, MissingDependency
from deepfake_edge.runtimes import ort_cuda
from doubles import onnxruntime_cuda
from doubles.kernel import kernel_double
from doubles.tensorrt import install
from gpu.small_bundle import small_bundle

_DOUBLES = os.environ.get("DEEPFAKE_EDGE_GPU_TESTS_OVER_DOUBLES")
_FULL_BUNDLE = os.environ.get("DEEPFAKE_EDGE_TEST_BUNDLE")
_HEADER = ("bundle", "runtime", "precision", "what", "figure")
_figures: list[tuple[str, ...]] = []
_machine: dict[str, str] = {}

Figure = Callable[..., None]


@pytest.fixture(autouse=True)
def _one_process(request: pytest.FixtureRequest) -> None:
    if hasattr(request.config, "workerinput"):
        pytest.skip("tests of a GPU run in one process: pytest -m gpu -n 0")


@pytest.fixture(autouse=True)
def _doubles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if _DOUBLES is None:
        yield
        return
    onnxruntime_cuda.install(monkeypatch)
    monkeypatch.setattr("deepfake_edge.cuda.crops.kernel_image", kernel_double)
    double = install(monkeypatch, _DOUBLES, request.getfixturevalue("cuda_double"))
    yield
    assert not double.errors, f"misuse of the TensorRT double: {double.errors}"


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def device(_doubles: None) -> Iterator[Device]:
    """The first GPU, open."""
    try:
        opened = open_device()
    except DeepfakeEdgeError as error:
        pytest.skip(f"no GPU: {error}")
    _machine["device"] = _named(opened)
    with opened:
        yield opened


@pytest.fixture
def lost_bytes(device: Device) -> Callable[[Callable[[], None]], int]:
    """How much less of the device's memory is free after some work than before it, beyond what others take meanwhile.

    A GPU that shares the CPU's memory shares it with every other process, too.
    """
    noise = (64 if device.facts.integrated else 16) * 1024**2

    def free_bytes() -> int:
        with device.current():
            return device.memory_info()[0]

    def measure(work: Callable[[], None]) -> int:
        before = free_bytes()
        work()
        return max(0, before - free_bytes() - noise)

    return measure


@pytest.fixture
def tensorrt(device: Device) -> str:
    """TensorRT's version."""
    try:
        _machine["TensorRT"] = version()
    except MissingDependency as error:
        pytest.skip(f"no TensorRT: {error}")
    return _machine["TensorRT"]


@pytest.fixture
def onnxruntime_cuda_version(device: Device) -> str:
    """The version of an ONNX Runtime that computes on the GPU."""
    reason = ort_cuda.available()
    if reason is not None:
        pytest.skip(f"no ONNX Runtime on CUDA: {reason}")
    from deepfake_edge.runtimes import ort

    _machine["ONNX Runtime"] = ort.version()
    return _machine["ONNX Runtime"]


@pytest.fixture(scope="session", params=["small", "full"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """A bundle that is made in a moment, and one that is named."""
    if request.param == "small":
        return small_bundle()
    if not _FULL_BUNDLE:
        pytest.skip("name a bundle of full size in DEEPFAKE_EDGE_TEST_BUNDLE")
    return read_bundle(Path(_FULL_BUNDLE).expanduser())


@pytest.fixture(scope="session", params=["fp32", "fp16", "int8"])
def precision(request: pytest.FixtureRequest, bundle: Bundle) -> str:
    """Each that the bundle has."""
    if not bundle.has(request.param):
        pytest.skip(f"the bundle {bundle.name} has no {request.param}")
    return str(request.param)


@pytest.fixture(scope="session")
def figure() -> Figure:
    """Takes a row of the table: bundle, runtime, precision, what was measured, and the figure with its unit."""

    def add(bundle: str, runtime: str, precision: str, what: str, value: str) -> None:
        _figures.append((bundle, runtime, precision, what, value))

    return add


@pytest.fixture(scope="session")
def crops() -> Callable[[Bundle, int], np.ndarray]:
    """Normalised crops of a bundle's size: smooth, no two alike."""

    def make(bundle: Bundle, count: int) -> np.ndarray:
        size = bundle.spec.crop.size_px
        coarse = np.random.default_rng(count).uniform(-1, 1, (count, 3, 8, 8)).astype(np.float32)
        times = -(-size // 8)
        return np.ascontiguousarray(coarse.repeat(times, axis=2).repeat(times, axis=3)[:, :, :size, :size])

    return make


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table, ready for a README."""
    if not _figures:
        return
    terminalreporter.section("figures of this GPU" if _DOUBLES is None else "figures of doubles, of no GPU")
    jetson = find_jetson()
    where = "" if jetson is None else f"{jetson.board}, JetPack {jetson.installed or jetson.l4t}; "
    terminalreporter.line(
        where
        + "; ".join(f"{name} {value}" for name, value in _machine.items())
        + f"; deepfake-edge {__version__}, Python {platform.python_version()}\n"
    )
    for row in (_HEADER, ("---",) * len(_HEADER), *_figures):
        terminalreporter.line(f"| {' | '.join(row)} |")


def _named(device: Device) -> str:
    facts = device.facts
    major, minor = facts.compute_capability
    memory = f"{facts.memory_bytes / 1024**3:.1f} GiB"
    return f"{facts.name} ({major}.{minor}, {memory}), driver for CUDA {facts.driver_version}, {device.binding}"
