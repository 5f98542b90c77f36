"""What is missing is named together with the command that brings it."""

from __future__ import annotations

import importlib

import pytest

from deepfake_edge.cli import main
from deepfake_edge.errors import MissingDependency
from deepfake_edge.optional import require


@pytest.fixture
def broken(monkeypatch):
    """Make one module fail to import with a given error."""
    original = importlib.import_module

    def breaks(module: str, error: ImportError) -> None:
        def load(name: str, *rest: object) -> object:
            if name == module:
                raise error
            return original(name, *rest)

        monkeypatch.setattr(importlib, "import_module", load)

    return breaks


def test_what_is_installed_is_given():
    assert require("json").loads("1") == 1


def test_an_absent_package_names_its_extra(broken):
    broken("tensorrt", ModuleNotFoundError("No module named 'tensorrt'", name="tensorrt"))
    with pytest.raises(
        MissingDependency, match=r"tensorrt is not installed. Try: pip install 'deepfake-edge\[tensorrt\]'"
    ):
        require("tensorrt", extra="tensorrt")


def test_a_broken_package_says_what_broke_it(broken):
    broken("mtcnn", ModuleNotFoundError("No module named 'joblib'", name="joblib"))
    with pytest.raises(MissingDependency, match=r"mtcnn cannot be imported .*joblib"):
        require("mtcnn", extra="mtcnn")


@pytest.mark.parametrize("library", ["libGL.so.1", "libgthread-2.0.so.0"])
def test_opencv_without_a_system_library_names_the_packages(broken, library):
    broken("cv2", ImportError(f"{library}: cannot open shared object file: No such file or directory"))
    with pytest.raises(MissingDependency, match=r"apt-get install libgl1 libglib2\.0-0"):
        require("cv2")


def test_the_command_line_says_so_in_one_line(broken, capsys):
    broken("cv2", ImportError("libGL.so.1: cannot open shared object file: No such file or directory"))
    assert main(["doctor"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "apt-get install libgl1 libglib2.0-0" in err
