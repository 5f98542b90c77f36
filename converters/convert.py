"""From a Keras file to a bundle: read, cut, export, prove, write. All of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import Bundle, Variant, write_bundle
from deepfake_edge.converters import parity
from deepfake_edge.converters.canonical import operators
from deepfake_edge.converters.cut import Cut, cut
from deepfake_edge.converters.export import Networks, export, moved_transposes
from deepfake_edge.converters.failures import told
from deepfake_edge.converters.keras_file import KerasFile, identify
from deepfake_edge.converters.read import Loaded, read_model
from deepfake_edge.converters.spec_values import parse_overrides, rows, settle
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.face_crops import make_crops

_TOOLS = ("deepfake-edge", "keras", "onnx", "onnxruntime", "tensorflow", "tf2onnx")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        family: the architecture; None lets the file's own structure tell.
        name: the model's name; None takes the file's, without its suffix.
        calibration: a clip, picture or face crop, or a folder of them, to prove parity on; None takes
            variations of a photograph.
        overrides: spec values, key to text (`{"sample_fps": "25"}`).
        progress: is told what is being done, one line at a time.
    """

    family: str | None = None
    name: str | None = None
    calibration: Path | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    progress: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion found, proved and wrote.

    Attributes:
        path: the bundle.
        sha256: digest of it.
        name: the model's name.
        spec: what the model expects.
        spec_origin: where each value of it came from.
        parity: figures of the comparison with Keras.
        operators: per network, how many nodes of each operator.
        warnings: what a user should know.
        seconds: wall time of each stage.
    """

    path: Path
    sha256: str
    name: str
    spec: ModelSpec
    spec_origin: Mapping[str, str]
    parity: Mapping[str, Any]
    operators: Mapping[str, Mapping[str, int]]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]

    def spec_rows(self) -> list[tuple[str, str, str]]:
        """Each value of the spec with where it came from, for people."""
        return rows(self.spec, self.spec_origin)


def convert(source: Path, output: Path, options: ConvertOptions | None = None) -> ConversionReport:
    """Convert a Keras model into a bundle.

    Args:
        source: a .keras model, or with a family a .keras, .weights.h5 or Keras 2 .h5 file of weights.
        output: the bundle; written only when parity holds, an existing one stays as it was until then.
        options: see `ConvertOptions`.
    Raises:
        ConversionError: the model cannot be converted, or does not say what Keras says; carries every reason.
        InvalidInput: an option is wrong.
        MissingDependency: the `convert` extra is not installed.
        SourceError: a calibration file cannot be read.
        BundleError: the bundle cannot be written.
    """
    options = options or ConvertOptions()
    source, output = Path(source), Path(output)
    _check_output(output, source)
    given = parse_overrides(options.overrides)
    clock = _Clock(options.progress)
    with clock.stage("reading", f"reading {source.name}"):
        file = identify(source)
        loaded = read_model(file, options.family, options.overrides)
    with clock.stage("cutting", "cutting"):
        parts = _cut(loaded, given)
        spec, origin = settle(loaded.family, loaded.how, _measured(parts), given)
    with clock.stage("export", "exporting to ONNX"):
        networks = export(parts)
    with clock.stage("crops", "preparing face crops"):
        crops = make_crops(spec.crop, spec.clip, options.calibration)
    todo = f"running Keras on {len(crops.crops)} crops and {len(crops.windows)} windows"
    with clock.stage("keras", todo), told("Keras fails on real face crops"):
        truth = parity.reference(loaded.model, parts, crops.crops, crops.windows, spec.crop)
    with clock.stage("parity", "comparing the converted model with Keras"):
        name = options.name or _stem(source)
        draft = Bundle(name, spec, _variants(networks, {}), truth.golden, _provenance(file))
        figures = parity.compare(draft, truth, crops)
    with clock.stage("writing", f"writing {output.name}"):
        bundle = Bundle(name, spec, _variants(networks, figures), truth.golden, _provenance(file))
        sha256 = write_bundle(bundle, output)
    warnings = (*loaded.warnings, *crops.warnings, *_warnings(networks, figures))
    counts = {"backbone": operators(networks.backbone)}
    if networks.head is not None:
        counts["head"] = operators(networks.head)
    return ConversionReport(output, sha256, name, spec, origin, figures, counts, warnings, clock.seconds)


def _check_output(output: Path, source: Path) -> None:
    try:
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise InvalidInput(f"output: wanted a file in an existing folder, got {output}")
        if output.exists() and not output.is_file():
            raise InvalidInput(f"output: {output} exists and is not a regular file")
        if output.exists() and source.exists() and output.samefile(source):
            raise InvalidInput(f"output: {output} is the source itself, which is never overwritten")
    except (OSError, ValueError) as error:
        raise InvalidInput(f"output: {output} cannot be looked at: {error}") from error


@dataclass(frozen=True, slots=True)
class _Clock:
    """Tells what is being done, and keeps how long it took."""

    progress: Callable[[str], None] | None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(what)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


def _cut(loaded: Loaded, given: Mapping[str, Any]) -> Cut:
    frames, size_px = given.get("frames"), given.get("size_px")
    if loaded.family is not None:
        frames = loaded.family.spec.clip.frames if frames is None else frames
        size_px = loaded.family.spec.crop.size_px if size_px is None else size_px
    return cut(loaded.model, frames, size_px)


def _measured(parts: Cut) -> Mapping[str, Any]:
    activation = "softmax" if parts.outputs == 2 else "sigmoid"
    return {"size_px": parts.size_px, "frames": parts.frames, "activation": activation}


def _variants(networks: Networks, figures: Mapping[str, Any]) -> Mapping[str, Variant]:
    return {"fp32": Variant(networks.backbone, networks.head, figures)}


def _provenance(file: KerasFile) -> Mapping[str, str]:
    return {"source_sha256": file.sha256, **{tool: _version(tool) for tool in _TOOLS}}


def _version(tool: str) -> str:
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        return "unknown"


def _warnings(networks: Networks, figures: Mapping[str, Any]) -> list[str]:
    warnings = []
    spread = parity.spread_warning(figures)
    if spread is not None:
        warnings.append(spread)
    if moved_transposes(networks.backbone):
        warnings.append("the backbone still begins with a transposition, which costs time on every crop")
    return warnings


def _stem(source: Path) -> str:
    return source.name.removesuffix(".weights.h5") if source.name.endswith(".weights.h5") else source.stem
