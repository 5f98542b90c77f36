"""What several tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from doubles.cuda import RealDriverLoadedError, load_cuda_double
from doubles.fixtures import cuda_double, tensorrt_double  # noqa: F401

_ROOT = Path(__file__).resolve().parents[1]
# Some tests import ONNX Runtime themselves, and shall not call home either.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real clips and photographs with ground truth in manifest.json; not part of the repository."""
    folder = Path(os.environ.get("DEEPFAKE_EDGE_TEST_DATA") or _ROOT.parent / "shared" / "data")
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no test data in {folder}; name its folder in DEEPFAKE_EDGE_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run away from the checkout: `python -c` looks in the current folder first, and must find what is installed."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


def pytest_configure(config: pytest.Config) -> None:
    """The driver's double is there before TensorFlow, whose stubs of the driver stay broken where they find none.

    Until a test asks for it, it says that there is no GPU. On a GPU (`pytest -m gpu`) it keeps away.
    """
    if config.option.markexpr != "gpu" and shutil.which("g++"):
        with suppress(RealDriverLoadedError):
            load_cuda_double()


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """`pytest -m gpu` measures time and memory of one GPU, in one process; else xdist decides."""
    return 0 if config.option.markexpr == "gpu" else None
