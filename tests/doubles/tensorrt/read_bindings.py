"""Read the names of TensorRT's Python API off its real bindings, into the manifests that the double is made from.

`python read_bindings.py 10.3` fetches one version's bindings from PyPI into a throw-away folder, lays libraries of
null functions beside them (the bindings import with those; nothing can be built or run), imports them in a child
process, and writes manifests/<version>.json: classes with methods, signatures and properties, enums with their
values, functions. Names, signatures and values only. Needs pip, gcc and the Python that a wheel exists for.

The child process runs this same file with nothing but the standard library.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MANIFESTS = Path(__file__).resolve().parent / "manifests"
# Where PyPI has each version for CPython 3.11 on x86-64 Linux.
WHEELS = {
    "8.6": "tensorrt-bindings==8.6.1",
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.7": "tensorrt-cu12-bindings==10.7.0",
    "10.14": "tensorrt-cu13-bindings==10.14.1.48.post1",
    "10.16": "tensorrt-cu13-bindings==10.16.1.11",
    "11.0": "tensorrt-cu13-bindings==11.0.0.114",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
_PYTHON = "3.11"
_LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser", "nvparsers")
_NULL_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "getBuilderPluginRegistry",
    "initLibNvInferPlugins",
    # Version 8 only: the UFF and Caffe parsers.
    "_ZN11nvuffparser15createUffParserEv",
    "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi",
    "_ZN14nvcaffeparser117createCaffeParserEv",
    "_ZN14nvcaffeparser123shutdownProtobufLibraryEv",
)
_PACKAGE = re.compile(r"\btensorrt(?:_bindings)?\.tensorrt\.")
_OVERLOAD = re.compile(r"^\d+\. (?=\w+\()", re.MULTILINE)
# What every pybind11 enum and class carries, and the documentation does not speak of.
_PLUMBING = ("_pybind11_conduit_v1_",)


class BindingsUnavailable(Exception):
    """The bindings cannot be fetched here; the message is the reason."""


def read_version(version: str) -> dict[str, Any]:
    """The manifest of one version, read off its bindings in a child process.

    Raises:
        BindingsUnavailable: PyPI is out of reach, or no wheel fits this Python.
        CalledProcessError: they were fetched, and cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        install(version, Path(folder))
        found: dict[str, Any] = json.loads(run_beside(folder, [__file__, "--child"]))
        return found


def install(version: str, folder: Path) -> None:
    """Put a version's bindings and null libraries into `folder`. Raises BindingsUnavailable."""
    if sys.version_info[:2] != tuple(int(part) for part in _PYTHON.split(".")):
        raise BindingsUnavailable(f"the bindings are read with Python {_PYTHON}; this is {sys.version.split()[0]}")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--target"]
    _run([*pip, str(folder), WHEELS[version]])
    source = folder / "null.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _NULL_FUNCTIONS))
    major = version.partition(".")[0]
    for library in _LIBRARIES:
        soname = f"lib{library}.so.{major}"
        _run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", str(folder / soname), str(source)])


def run_beside(folder: str, arguments: list[str]) -> str:
    """What Python prints when it runs with an installed version's bindings. Raises CalledProcessError."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=_beside(folder), stdout=subprocess.PIPE, text=True, check=True).stdout


def _beside(folder: str) -> dict[str, str]:
    """The environment of the child: the folder's packages and libraries, and nothing of ours."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": folder, "LD_LIBRARY_PATH": folder}


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = str(getattr(error, "stderr", "")).strip()[-600:]
        raise BindingsUnavailable(f"{' '.join(command)} failed: {said or error}") from error


def read_module(module: Any) -> dict[str, Any]:
    """Everything public in an imported `tensorrt_bindings`."""
    manifest: dict[str, Any] = {"version": module.__version__, "aliases": {}, "classes": {}, "enums": {}}
    manifest["functions"] = {}
    for name, item in sorted(vars(module).items()):
        if inspect.isclass(item):
            for qualified, cls in _with_nested(name, item):
                if _members(cls) is None:
                    manifest["classes"][qualified] = _class(cls)
                else:
                    manifest["enums"][qualified] = _members(cls)
        elif _members(type(item)) is not None and not name.startswith("_"):
            manifest["aliases"][name] = f"{type(item).__qualname__}.{item.name}"
        elif callable(item) and not name.startswith("__"):
            manifest["functions"][name] = _signatures(item)
    return manifest


def _with_nested(name: str, cls: type, seen: tuple[type, ...] = ()) -> Iterator[tuple[str, type]]:
    yield name, cls
    for inner, item in sorted(vars(cls).items()):
        if inspect.isclass(item) and item not in (*seen, cls) and not inner.startswith("__"):
            yield from _with_nested(f"{name}.{inner}", item, (*seen, cls))


def _members(cls: type) -> dict[str, int] | None:
    """Names and values of an enum, of pybind11's own kind or Python's; None for any other class."""
    if not hasattr(cls, "__members__") or (isinstance(cls, enum.EnumMeta) and not list(cls)):
        return None
    return {name: int(getattr(member, "value", member)) for name, member in sorted(cls.__members__.items())}


def _class(cls: type) -> dict[str, Any]:
    methods: dict[str, list[str]] = {}
    properties: dict[str, str] = {}
    for name, item in sorted(vars(cls).items()):
        if isinstance(item, staticmethod):
            item = getattr(cls, name)
        if name in _PLUMBING or (name.startswith("__") and not _spoken(name)) or inspect.isclass(item):
            continue
        if isinstance(item, property) or type(item).__name__ == "pybind11_static_property":
            properties[name] = "rw" if item.fset else "ro"
        elif callable(item):
            methods[name] = _signatures(item)
        elif not name.startswith("__"):
            properties[name] = "constant"
    bases = [base.__name__ for base in cls.__bases__ if base.__name__ not in ("object", "pybind11_object")]
    return {"bases": bases, "methods": methods, "properties": properties}


def _spoken(name: str) -> bool:
    return name.strip("_") in ("init", "len", "getitem", "setitem", "enter", "exit", "call", "eq", "repr", "str")


def _signatures(function: Any) -> list[str]:
    """What pybind11 writes at the head of a docstring, one line an overload."""
    text = _PACKAGE.sub("", inspect.getdoc(function) or "")
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    if "Overloaded function." in text:
        return [part.splitlines()[0].strip() for part in _OVERLOAD.split(text)[1:]]
    first = text.splitlines()[0].strip() if text else ""
    return [first] if re.match(r"^\w+\(.*\)( -> .+)?$", first) else []


def write(manifest: dict[str, Any]) -> str:
    """A manifest as JSON, one class, enum or function a line."""
    parts = []
    for key in sorted(manifest):
        value = manifest[key]
        if isinstance(value, dict):
            rows = [f"{json.dumps(name)}:{_compact(value[name])}" for name in sorted(value)]
            parts.append(f"{json.dumps(key)}:{{\n" + ",\n".join(rows) + "\n}")
        else:
            parts.append(f"{json.dumps(key)}:{_compact(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def main(arguments: list[str]) -> None:
    if arguments == ["--child"]:
        sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(__file__).resolve().parent]
        json.dump(read_module(importlib.import_module("tensorrt_bindings")), sys.stdout)
        return
    for version in arguments or WHEELS:
        (MANIFESTS / f"{version}.json").write_text(write(read_version(version)))


if __name__ == "__main__":
    main(sys.argv[1:])
