"""TensorRT's door: what is too old or not whole is refused with what to do; what it says is kept."""

from __future__ import annotations

import logging
import sys

import pytest

from deepfake_edge.engines import library
from deepfake_edge.errors import MissingDependency
from doubles.tensorrt import install


def test_the_version_is_read_in_full(tensorrt_double):
    assert library.version() == tensorrt_double.module.__version__
    assert library.version_numbers()[:2] == tuple(int(part) for part in tensorrt_double.version.split("."))


@pytest.fixture
def newest(monkeypatch, cuda_double):
    return install(monkeypatch, "11.4", cuda_double)


def test_what_is_older_than_8_5_is_refused(newest, monkeypatch):
    monkeypatch.setattr(newest.module, "__version__", "8.4.3")
    with pytest.raises(MissingDependency, match=r"8\.4\.3 is too old: wanted 8\.5"):
        library.tensorrt()


def test_a_future_version_is_tried_and_refused_by_what_it_lacks(newest, monkeypatch):
    monkeypatch.setattr(newest.module, "__version__", "12.0.0")
    assert library.version_numbers() == (12, 0, 0)
    monkeypatch.setattr(library, "_NEEDED", ("Builder", "BuilderOfOld"))
    with pytest.raises(MissingDependency, match=r"12\.0\.0 has no BuilderOfOld"):
        library.tensorrt()


def test_its_absence_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency, match=r"pip install 'deepfake-edge\[tensorrt\]'"):
        library.tensorrt()


def test_on_jetson_it_comes_from_jetpack(monkeypatch, tmp_path):
    (tmp_path / "nv_tegra_release").write_text("# R36")
    monkeypatch.setattr(library, "_JETSON", tmp_path / "nv_tegra_release")
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependency, match=r"sudo apt install python3-libnvinfer.*--system-site-packages"):
        library.tensorrt()


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_one_that_breaks_on_import_is_no_traceback(monkeypatch, tmp_path, kind):
    (tmp_path / "tensorrt.py").write_text(f"raise {kind.__name__}('libnvinfer.so.10: cannot open')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    with pytest.raises(MissingDependency, match=r"cannot be imported \(libnvinfer.*Try: pip install"):
        library.tensorrt()


def test_the_log_keeps_the_last_lines_and_hands_them_on(tensorrt_double, caplog):
    caplog.set_level(logging.DEBUG)
    kinds = tensorrt_double.module.ILogger
    log = library.log()
    assert isinstance(log, kinds)
    log.log(kinds.INFO, "chatter")
    log.log(kinds.VERBOSE, "chatter")
    log.log(kinds.WARNING, "a warning")
    for number in range(60):
        log.log(kinds.ERROR, f"error {number}")
    log.log(kinds.ERROR, "an error\n on two lines")
    log.log(kinds.INTERNAL_ERROR, "an inner one")
    assert log.errors[-2:] == ["an error on two lines", "an inner one"]
    assert (len(log.errors), log.errors[0]) == (50, "error 12")
    log.forget()
    assert log.errors == []
    assert "chatter" not in caplog.text
    assert {record.levelname for record in caplog.records if "warning" in record.message} == {"DEBUG"}
    assert {record.levelname for record in caplog.records if "error" in record.message} == {"WARNING"}
