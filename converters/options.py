"""How to convert, and what of it no conversion could do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepfake_edge.converters.fit import LabelledClip
from deepfake_edge.converters.precision.gate import Gate, parse_gates
from deepfake_edge.converters.sandbox import Limits
from deepfake_edge.errors import InvalidInput

_PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    """How to convert.

    Attributes:
        family: the architecture, `NAME` or `NAME:size=value,...`; None lets the file's own structure tell.
        name: the model's name; None takes the file's, without its suffix.
        calibration: a clip, picture or face crop, or a folder of them, to prove parity on; None takes
            variations of a photograph. Lower precisions are calibrated on one part and judged by another.
        precisions: some of `fp32`, `fp16`, `int8`; the bundle holds those that pass their gate.
        gates: limits of lower precisions that differ from `precision.gate.GATES`, e.g. `{"int8.mean": "0.03"}`.
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
    precisions: Sequence[str] = ("fp32",)
    gates: Mapping[str, str] = field(default_factory=dict)
    overrides: Mapping[str, str] = field(default_factory=dict)
    fused: bool = False
    trust_source: bool = False
    checks: tuple[LabelledClip, ...] = ()
    limits: Limits = field(default_factory=Limits)
    progress: Callable[[str], None] | None = None


def check_precisions(options: ConvertOptions) -> dict[str, Gate]:
    """Refuse what no conversion could give; the gates otherwise."""
    wanted = options.precisions
    if "bf16" in wanted:
        raise InvalidInput(
            "precision: bf16 is not converted: it is fp32 computed in bfloat16 where a CPU can: "
            "deepfake-edge detect --precision bf16"
        )
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(_PRECISIONS):
        raise InvalidInput(f"precision: wanted some of {', '.join(_PRECISIONS)}, each once, got {', '.join(wanted)!r}")
    if "int8" in wanted and options.calibration is None:
        raise InvalidInput(
            "precision: int8 needs real face crops to calibrate on: --calibration PATH (clips, pictures or crops, "
            "real and fake)"
        )
    gates = parse_gates(options.gates)
    idle = sorted({key for key in options.gates if key.partition(".")[0] not in wanted})
    if idle:
        raise InvalidInput(
            f"gate: {', '.join(idle)}: that precision is not asked for; --precision says {', '.join(wanted)}"
        )
    return gates


def check_output(output: Path, source: Path) -> None:
    """Refuse what cannot become a bundle, or would be lost by it. Raises InvalidInput."""
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


def model_name(source: Path) -> str:
    """A model's name where nobody gives one: its file's, without the suffix."""
    return source.name.removesuffix(".weights.h5") if source.name.endswith(".weights.h5") else source.stem
