"""From a model file to a bundle: check, open, export, prove, write. All of it or nothing.

This is the parent: it never loads TensorFlow. What touches the file's content beyond plain checks happens in a
`Sandbox`, and what comes out of that is checked again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
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
from deepfake_edge.converters.fit import Fit, compare_fits
from deepfake_edge.converters.intake import take
from deepfake_edge.converters.options import ConvertOptions, check_output, check_precisions, model_name
from deepfake_edge.converters.precision.candidates import Trial
from deepfake_edge.converters.precision.made import Made
from deepfake_edge.converters.precision.variants import make_variants
from deepfake_edge.converters.reference import Reference
from deepfake_edge.converters.sandbox import Sandbox, one_line
from deepfake_edge.converters.spec_values import parse_overrides, rows, settle
from deepfake_edge.converters.truth_file import pack_arrays, unpack_truth
from deepfake_edge.converters.worker import BACKBONE, CROPS, HEAD, TRUTH
from deepfake_edge.errors import BundleError, ConversionError
from deepfake_edge.golden import outputs_of
from deepfake_edge.model import Model
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.calibration import make_split
from deepfake_edge.training.face_crops import CropSet, make_crops
from deepfake_edge.training.families import FAMILIES

_TOOLS = ("deepfake-edge", "keras", "onnx", "onnxruntime", "tensorflow", "tf2onnx")


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What a conversion found, proved and wrote.

    Attributes:
        path: the bundle.
        sha256: digest of it.
        name: the model's name.
        spec: what the model expects.
        spec_origin: where each value of it came from.
        parity: figures of the comparison of the float32 networks with the source.
        variants: what the bundle holds, by name, each with its own figures.
        left_out: precisions that were asked for and do not pass their gate, and why.
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
    variants: Mapping[str, Variant]
    left_out: Mapping[str, tuple[str, ...]]
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
    check_output(output, source)
    gates = check_precisions(options)
    name = options.name or model_name(source)
    check_name(name)
    clock = _Clock(options.progress)
    with Sandbox(options.limits, options.progress) as sandbox:
        opened = _open(sandbox, source, options, clock)
        with clock.stage("crops", "preparing face crops"):
            crops, calibration, doubts = _crops(opened, options)
        truth, peak_memory_bytes = _run_source(sandbox, opened.spec, crops, clock)
    draft = Bundle(name, opened.spec, {"fp32": opened.variant}, truth.golden, _provenance(opened.file))
    with clock.stage("parity", "comparing the converted model with the source"):
        draft = _proved(draft, truth, crops)
    fits: tuple[Fit, ...] = ()
    if options.checks:
        with clock.stage("labelled clips", f"trying {len(options.checks)} labelled clips"):
            fits, said = compare_fits(draft, [(Path(clip), label) for clip, label in options.checks])
            doubts += said
    lower = [precision for precision in options.precisions if precision != "fp32"]
    made = Made()
    if lower:
        with clock.stage("precision", f"lowering the precision: {', '.join(lower)}"):
            made = make_variants(lower, Trial(draft, truth, crops, calibration), gates, options.progress)
    with clock.stage("writing", f"writing {output.name}"):
        bundle = _finished(draft, made, options)
        sha256 = write_bundle(bundle, output)
    figures = draft.variants["fp32"].parity
    spread = parity.spread_warning(figures)
    warnings = [*opened.warnings, *doubts, *([] if spread is None else [spread]), *made.notes]
    return ConversionReport(
        output, sha256, name, opened.spec, opened.spec_origin, figures, bundle.variants, made.left_out,
        opened.operators, fits, tuple(warnings), clock.seconds, peak_memory_bytes,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Opened:
    """A model file, opened and exported."""

    file: SourceFile
    spec: ModelSpec
    spec_origin: Mapping[str, str]
    variant: Variant
    operators: Mapping[str, Mapping[str, int]]
    warnings: tuple[str, ...]


def _open(sandbox: Sandbox, source: Path, options: ConvertOptions, clock: _Clock) -> _Opened:
    given = parse_overrides(options.overrides)
    if options.family is not None:
        parse_family(options.family)
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
        networks, operators = _networks(sandbox, exported)
    warnings = [*found.warnings, *doubts]
    if exported.get("transposed"):
        warnings.append("the backbone still begins with a transposition, which costs time on every crop")
    variant = Variant(networks.backbone, networks.head, {})
    return _Opened(file, spec, origin, variant, operators, tuple(warnings))


def _crops(opened: _Opened, options: ConvertOptions) -> tuple[CropSet, CropSet, list[str]]:
    """Crops to judge by, crops to calibrate lower precisions on, and what a user should know of them."""
    spec, calibration = opened.spec, None if options.calibration is None else Path(options.calibration)
    if calibration is not None and set(options.precisions) != {"fp32"}:
        fused = opened.variant.backbone is None
        split = make_split(spec.crop, spec.clip, calibration, fused=fused, progress=options.progress)
        return split.held_out, split.calibration, list(split.warnings)
    crops = make_crops(spec.crop, spec.clip, calibration)
    warnings = list(crops.warnings)
    if "fp16" in options.precisions:
        warnings.append(
            "fp16: what values its layers reach was only seen on variations of one photograph; give --calibration PATH"
        )
    return crops, crops, warnings


def _run_source(sandbox: Sandbox, spec: ModelSpec, crops: CropSet, clock: _Clock) -> tuple[Reference, int]:
    """What the source makes of the crops, and the most memory that the conversion process has held."""
    sandbox.write(CROPS, pack_arrays({"crops": crops.crops, "windows": crops.windows}))
    todo = f"running the source on {len(crops.crops)} crops and {len(crops.windows)} windows"
    with clock.stage("reference", todo):
        last = sandbox.ask("reference", spec=spec.to_json())
        return unpack_truth(sandbox.read(TRUTH)), int(last.get("peak_memory_bytes", 0))


def _proved(draft: Bundle, truth: Reference, crops: CropSet) -> Bundle:
    """The draft with its float32 variant's figures and golden outputs."""
    with told("the converted model cannot be compared with the source"):
        figures = parity.compare(draft, truth, crops)
        with Model(draft, "fp32", lambda graph, name: OnnxRuntimeNetwork(graph, name=name)) as model:
            golden = outputs_of(model, truth.golden)
    return replace(draft, variants={"fp32": replace(draft.variants["fp32"], parity=figures, golden=golden)})


def _finished(draft: Bundle, made: Made, options: ConvertOptions) -> Bundle:
    """The bundle with the variants that were asked for and passed."""
    variants = {**(draft.variants if "fp32" in options.precisions else {}), **made.variants}
    if not variants:
        reasons = [f"{name}: {reason}" for name, against in made.left_out.items() for reason in against]
        raise ConversionError("no precision that was asked for passes its gate; nothing was written:", reasons)
    return replace(draft, variants=variants)


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


def _provenance(file: SourceFile) -> Mapping[str, str]:
    return {"source_sha256": file.sha256, **{tool: _version(tool) for tool in _TOOLS}}


def _version(tool: str) -> str:
    try:
        return metadata.version(tool)
    except metadata.PackageNotFoundError:
        return "unknown"
