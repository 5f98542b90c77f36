"""From a model file to a bundle: check, open, export, prove, write. All of it or nothing.

This is the parent: it never loads TensorFlow. What touches the file's content beyond plain checks happens in a
`Sandbox`, and what comes out of that is checked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import Bundle, Variant, check_name, write_bundle
from deepfake_edge.converters import parity
from deepfake_edge.converters.exporting.export import Networks
from deepfake_edge.converters.failures import told
from deepfake_edge.converters.family_option import parse_family
from deepfake_edge.converters.files.source_file import SourceFile
from deepfake_edge.converters.findings import Findings
from deepfake_edge.converters.fit import Fit, LabelledClip, compare_fits
from deepfake_edge.converters.intake import take
from deepfake_edge.converters.sandbox import Limits, Sandbox, one_line
from deepfake_edge.converters.spec_values import parse_overrides, rows, settle
from deepfake_edge.converters.truth_file import pack_arrays, unpack_truth
from deepfake_edge.converters.worker import BACKBONE, CROPS, HEAD, TRUTH
from deepfake_edge.errors import BundleError, ConversionError, InvalidInput
from deepfake_edge.golden import outputs_of
from deepfake_edge.golden_arrays import Outputs
from deepfake_edge.model import Model
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.face_crops import make_crops
from deepfake_edge.training.families import FAMILIES

_TOOLS = ("deepfake-edge", "keras", "onnx", "onnxruntime", "tensorflow", "tf2onnx")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        family: the architecture, `NAME` or `NAME:size=value,...`; None lets the file's own structure tell.
        name: the model's name; None takes the file's, without its suffix.
        calibration: a clip, picture or face crop, or a folder of them, to prove parity on; None takes
            variations of a photograph.
        overrides: spec values, key to text (`{"sample_fps": "25"}`).
        fused: convert a clip model whole, without a cut; every verdict then runs the whole clip.
        trust_source: accept a SavedModel, which is a program.
        checks: labelled clips to hold the finished bundle against; see `fit`.
        limits: what the conversion process may use.
        progress: is told what is being done, one line at a time.
    """

    family: str | None = None
    name: str | None = None
    calibration: Path | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    fused: bool = False
    trust_source: bool = False
    checks: tuple[LabelledClip, ...] = ()
    limits: Limits = field(default_factory=Limits)
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
        parity: figures of the comparison with the source.
        operators: per network, how many nodes of each operator.
        fits: how each reading of the spec fits the labelled clips, best first; empty without clips.
        warnings: what a user should know.
        seconds: wall time of each stage.
        peak_memory_bytes: the most that the conversion process held.
    """

    path: Path
    sha256: str
    name: str
    spec: ModelSpec
    spec_origin: Mapping[str, str]
    parity: Mapping[str, Any]
    operators: Mapping[str, Mapping[str, int]]
    fits: tuple[Fit, ...]
    warnings: tuple[str, ...]
    seconds: Mapping[str, float]
    peak_memory_bytes: int

    def spec_rows(self) -> list[tuple[str, str, str]]:
        """Each value of the spec with where it came from, for people."""
        return rows(self.spec, self.spec_origin)


def convert(source: Path, output: Path, options: ConvertOptions | None = None) -> ConversionReport:
    """Convert a model into a bundle.

    Args:
        source: a .keras or .h5 model, weights of a named family, a .onnx file, or a SavedModel's folder.
        output: the bundle; written only when parity holds, an existing one stays as it was until then.
        options: see `ConvertOptions`.
    Raises:
        ConversionError: the model cannot be converted, or does not say what the source says; carries every reason.
        InvalidInput: an option is wrong.
        MissingDependency: the `convert` extra is not installed.
        SourceError: a calibration file or labelled clip cannot be read.
        BundleError: the bundle cannot be written.
    """
    options = options or ConvertOptions()
    source, output = Path(source), Path(output)
    _check_output(output, source)
    given = parse_overrides(options.overrides)
    if options.family is not None:
        parse_family(options.family)
    name = options.name or model_name(source)
    check_name(name)
    clock = _Clock(options.progress)
    with Sandbox(options.limits, options.progress) as sandbox:
        with clock.stage("checking", f"checking {source.name}"):
            file, order = take(
                source, sandbox.folder, family=options.family, given=given, fused=options.fused,
                trust_source=options.trust_source,
            )  # fmt: skip
        with clock.stage("opening", f"opening {source.name}"):
            found = _findings(sandbox.ask("open", order=asdict(order)))
            family = None if found.family is None else FAMILIES[found.family]
            spec, origin, doubts = settle(family, found, given)
        with clock.stage("export", "exporting to ONNX"):
            exported = sandbox.ask("export")
            networks, counts = _networks(sandbox, exported)
        with clock.stage("crops", "preparing face crops"):
            crops = make_crops(spec.crop, spec.clip, None if options.calibration is None else Path(options.calibration))
            sandbox.write(CROPS, pack_arrays({"crops": crops.crops, "windows": crops.windows}))
        todo = f"running the source on {len(crops.crops)} crops and {len(crops.windows)} windows"
        with clock.stage("reference", todo):
            last = sandbox.ask("reference", spec=spec.to_json())
            truth = unpack_truth(sandbox.read(TRUTH))
    with clock.stage("parity", "comparing the converted model with the source"):
        draft = Bundle(name, spec, _variants(networks, {}, None), truth.golden, _provenance(file))
        with told("the converted model cannot be compared with the source"):
            figures = parity.compare(draft, truth, crops)
            with Model(draft, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as model:
                golden = outputs_of(model, truth.golden)
    fits: tuple[Fit, ...] = ()
    fit_warnings: tuple[str, ...] = ()
    if options.checks:
        with clock.stage("labelled clips", f"trying {len(options.checks)} labelled clips"):
            checks = [(Path(clip), label) for clip, label in options.checks]
            fits, fit_warnings = compare_fits(draft, checks)
    with clock.stage("writing", f"writing {output.name}"):
        bundle = Bundle(name, spec, _variants(networks, figures, golden), truth.golden, _provenance(file))
        sha256 = write_bundle(bundle, output)
    warnings = [*found.warnings, *doubts, *crops.warnings]
    spread = parity.spread_warning(figures)
    if spread is not None:
        warnings.append(spread)
    warnings += fit_warnings
    if exported.get("transposed"):
        warnings.append("the backbone still begins with a transposition, which costs time on every crop")
    return ConversionReport(
        output, sha256, name, spec, origin, figures, counts, fits, tuple(warnings), clock.seconds,
        int(last.get("peak_memory_bytes", 0)),
    )  # fmt: skip


def _findings(answer: Mapping[str, Any]) -> Findings:
    """What the conversion process says of the model, as far as it is what such an answer must be."""
    try:
        measured = {key: answer["measured"][key] for key in ("size_px", "frames", "activation")}
        pixels = answer["pixels"]
        if pixels is not None:
            triples = {key: [float(value) for value in pixels[key]] for key in ("mean", "scale")}
            pixels = {**triples, "words": one_line(pixels["words"])}
        return Findings(
            measured=measured,
            family=answer["family"] if answer["family"] in FAMILIES else None,
            how=one_line(answer["how"]),
            assumed={key: one_line(answer["assumed"][key]) for key in measured if key in answer["assumed"]},
            pixels=pixels,
            warnings=tuple(one_line(text) for text in answer["warnings"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConversionError(f"what the conversion process says of the model cannot be read: {error!r}") from error


def _networks(sandbox: Sandbox, exported: Mapping[str, Any]) -> tuple[Networks, dict[str, Mapping[str, int]]]:
    """The networks that came back, each checked as a device would check it."""
    graphs: dict[str, bytes] = {}
    counts: dict[str, Mapping[str, int]] = {}
    for part, name in (("backbone", BACKBONE), ("head", HEAD)):
        if not exported.get(part):
            continue
        try:
            graphs[part] = sandbox.read(name)
            counts[part] = check_onnx(graphs[part], name)
        except BundleError as error:
            raise ConversionError(f"the exported {part} is refused: {error}") from error
    return Networks(graphs.get("backbone"), graphs.get("head")), counts


def _check_output(output: Path, source: Path) -> None:
    try:
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise InvalidInput(f"output: wanted a file in an existing folder, got {output}")
        if output.exists() and not output.is_file():
            raise InvalidInput(f"output: {output} exists and is not a regular file")
        if output.exists() and source.exists() and output.samefile(source):
            raise InvalidInput(f"output: {output} is the source itself, which is never overwritten")
    except InvalidInput:
        raise
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


def _variants(networks: Networks, figures: Mapping[str, Any], golden: Outputs | None) -> Mapping[str, Variant]:
    return {"fp32": Variant(networks.backbone, networks.head, figures, golden)}


def _provenance(file: SourceFile) -> Mapping[str, str]:
    return {"source_sha256": file.sha256, **{tool: _version(tool) for tool in _TOOLS}}


def _version(tool: str) -> str:
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        return "unknown"


def model_name(source: Path) -> str:
    """A model's name where nobody gives one: its file's, without the suffix."""
    return source.name.removesuffix(".weights.h5") if source.name.endswith(".weights.h5") else source.stem
