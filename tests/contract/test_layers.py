"""The structure holds: imports go downwards, adapters stand alone, heavy packages stay behind their doors."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"deepfake_edge": ROOT / "deepfake_edge"}
MAPPED = {"deepfake_edge.converters": ROOT / "converters", "deepfake_edge.benchmarks": ROOT / "benchmarks"}

# Lowest first. A module may import what stands on a lower floor, or beside it.
FLOORS = (
    ("errors", "data", "_native"),
    ("cache", "checks", "containers", "feed", "golden_arrays", "npy", "onnx_ports", "onnx_wire", "optional", "pictures",
     "pixels", "sealed", "spec", "tables", "threads", "tracking", "trend", "urls", "verdict", "windows", "wire_format"),
    ("protocols", "bundle", "cuda", "ort_session", "preprocess", "overlay", "recipe"),
    ("sources", "faces", "runtimes", "sinks", "model", "engines", "ensemble", "strand", "pipeline", "golden"),
    ("session", "choices", "gpu", "runtime_choice", "detector"),
    ("training", "converters", "benchmarks"),
    ("cli", "__init__"),
)  # fmt: skip
ADAPTERS = ("sources", "faces", "runtimes", "sinks")

# Where each heavy package may be imported, as module prefixes.
DOORS = {
    "tensorflow": ("deepfake_edge.training.workshop",),
    "keras": ("deepfake_edge.training",),
    "tf2onnx": ("deepfake_edge.training.workshop",),
    "onnx": ("deepfake_edge.training.workshop",),
    "h5py": ("deepfake_edge.training.workshop",),
    "onnxruntime": ("deepfake_edge.runtimes.ort",),
    "openvino": ("deepfake_edge.runtimes.openvino",),
    "tensorrt": ("deepfake_edge.engines.library",),
    "pycuda": ("deepfake_edge.cuda",),
    "cuda": ("deepfake_edge.cuda",),
    "insightface": ("deepfake_edge.faces.scrfd",),
    "mtcnn": ("deepfake_edge.faces.cascade",),
    "av": ("deepfake_edge.training.h264",),
    "matplotlib": ("deepfake_edge.training.plots",),
    "scipy": ("deepfake_edge.training.evaluating.temperature",),
    "sklearn": ("deepfake_edge.training.evaluating.metrics",),
}
# Asking a package for its version, or whether it is there, is not using it.
ASKING = ("deepfake_edge.cli.doctor",)


def modules() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for package, folder in {**FOLDERS, **MAPPED}.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            found[name] = path
    return found


MODULES = modules()


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions, and through `require("...")`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "require":
            first = node.args[0]
            yield first.value if isinstance(first, ast.Constant) else ""


def floor(module: str) -> int:
    part = module.removeprefix("deepfake_edge").strip(".").partition(".")[0] or "__init__"
    for number, names in enumerate(FLOORS):
        if part in names:
            return number
    raise AssertionError(f"{module} stands on no floor; add it to FLOORS")


def inner_imports(module: str) -> Iterator[str]:
    for target in imports(MODULES[module]):
        if not target.startswith("deepfake_edge"):
            continue
        known = target if target in MODULES or target == "deepfake_edge._native" else target.rpartition(".")[0]
        yield known


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_go_downwards(module):
    for target in inner_imports(module):
        if target == "deepfake_edge" and module.startswith("deepfake_edge.cli"):
            continue
        assert floor(target) <= floor(module), f"{module} imports {target}, which stands above it"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_adapters_import_no_adapters(module):
    parts = module.split(".")
    if parts[1:2] and parts[1] in ADAPTERS and len(parts) > 2:
        others = [
            target
            for target in inner_imports(module)
            if target.split(".")[1:2] and target.split(".")[1] in ADAPTERS and target != module
        ]
        assert not others, f"{module} imports {others}"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_heavy_packages_stay_behind_their_doors(module):
    if module in ASKING:
        return
    for target in imports(MODULES[module]):
        doors = DOORS.get(target.partition(".")[0])
        assert doors is None or module.startswith(doors), f"{module} imports {target}; its door is {doors}"


def test_there_are_no_circles():
    edges = {module: {t for t in inner_imports(module) if t in MODULES and t != module} for module in MODULES}
    edges = {m: {t for t in targets if t != "deepfake_edge"} for m, targets in edges.items()}
    done: set[str] = set()
    while len(done) < len(edges):
        free = {module for module, targets in edges.items() if module not in done and targets <= done}
        assert free, f"a circle among {sorted(set(edges) - done)}"
        done |= free


def test_the_edge_does_not_know_the_workshop():
    for module in MODULES:
        if floor(module) < 5:
            above = [t for t in inner_imports(module) if t.split(".")[1:2] and t.split(".")[1] in FLOORS[5]]
            assert not above, f"{module} imports {above}"
