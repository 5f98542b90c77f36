"""What lower precision costs in judgement: every variant of a bundle on this machine's runtimes, on labelled clips.

    python -m deepfake_edge.benchmarks.lossless BUNDLE --real FILES... [--fake FILES...] [--self-blended N]
        [--faces FINDER] [--keras MODEL] [--json]

All variants judge the same crops. For each: the area under the ROC curve over windows and over files (mean of a
file's windows), and how far its scores lie from those of fp32. Exit status 1 where the area over windows lies more
than 0.005 below that of fp32. `--self-blended N` makes N fakes of each real file; without clips of known fakes it is
the only way to have some. `--keras` adds the model itself and needs the `convert` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.benchmarks.real_clips import (
    FaceClip,
    area_under_curve,
    cut_clip,
    in_windows,
    read_clip,
    self_blended,
)
from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.converters.failures import told
from deepfake_edge.data import Floats
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.golden import load
from deepfake_edge.model import Model, fake_scores
from deepfake_edge.runtime_choice import RUNTIMES, RuntimeOptions, choose_runtime, precisions_of
from deepfake_edge.spec import ModelSpec
from deepfake_edge.tables import table
from deepfake_edge.training import workshop

MOST_LOST = 0.005
_SEED = 20220619
_BATCH = 8
_HEADER = ("runtime", "precision", "AUC windows", "AUC files", "max diff", "mean diff", "flips", "windows")

Judge: TypeAlias = Callable[[Floats], NDArray[np.float64]]
"""Crops (N, 3, S, S) of one file -> fake scores of its windows (W,), which overlap by half."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one precision on one runtime says of all files.

    Attributes:
        runtime: `onnxruntime`, `openvino` or `keras`.
        precision: what was asked for.
        variant: the networks that gave it.
        auc_windows: area under the ROC curve over windows.
        auc_files: over files, by the mean score of their windows.
        max_diff: largest difference of a window's score from fp32's on the first runtime.
        mean_diff: their mean difference.
        flips: windows with another label, at the spec's threshold, than fp32 gives them.
        windows: how many there are.
    """

    runtime: str
    precision: str
    variant: str
    auc_windows: float
    auc_files: float
    max_diff: float
    mean_diff: float
    flips: int
    windows: int


def compare(bundle: Bundle, clips: Iterable[tuple[FaceClip, bool]], keras: Path | None = None) -> list[Judgement]:
    """Let every variant judge the same crops; the first of the list is fp32 on the first runtime.

    Args:
        bundle: as it was read.
        clips: faces, and whether they are fake; pictures only for a per-frame model.
        keras: the model that was converted; None leaves it out.
    Raises:
        InvalidInput: a clip shows its face too briefly, or there is nothing to tell apart.
        SourceError: a file cannot be read.
        ConversionError: Keras cannot load `keras`.
    """
    with ExitStack() as stack:
        judges = _judges(bundle, stack)
        if keras is not None:
            judges[("keras", "fp32")] = ("", _keras_judge(keras, bundle.spec))
        truths: list[bool] = []
        scores: dict[tuple[str, str], list[NDArray[np.float64]]] = {key: [] for key in judges}
        for clip, is_fake in clips:
            crops = cut_clip(clip, bundle.spec.crop)
            if len(crops) < bundle.spec.clip.frames:
                raise InvalidInput(
                    f"{clip.name}: a face in {len(crops)} frames, a window takes {bundle.spec.clip.frames}"
                )
            truths.append(is_fake)
            for key, (_, judge) in judges.items():
                scores[key].append(judge(crops))
    if len(set(truths)) < 2:
        raise InvalidInput("files: wanted real and fake ones; name some with --fake, or make some: --self-blended 4")
    first = next(iter(scores.values()))
    return [
        _judgement(key, judges[key][0], given, first, truths, bundle.spec.threshold) for key, given in scores.items()
    ]


def _judges(bundle: Bundle, stack: ExitStack) -> dict[tuple[str, str], tuple[str, Judge]]:
    """By runtime and precision: the variant's name, and what judges; fp32 comes first."""
    judges: dict[tuple[str, str], tuple[str, Judge]] = {}
    for runtime in RUNTIMES:
        for precision in precisions_of(runtime, bundle):
            chosen = choose_runtime(RuntimeOptions(runtime, precision), bundle)
            model = stack.enter_context(load(bundle, precision, chosen))
            judges[(runtime, precision)] = (model.variant, _model_judge(model))
    return judges


def _model_judge(model: Model) -> Judge:
    def judge(crops: Floats) -> NDArray[np.float64]:
        batches = np.array_split(crops, -(-len(crops) // _BATCH))
        features = np.concatenate([model.features(batch) for batch in batches])
        windows = _windows(features, model.spec)
        return np.concatenate([model.scores(batch)[0] for batch in np.array_split(windows, -(-len(windows) // _BATCH))])

    return judge


def _keras_judge(path: Path, spec: ModelSpec) -> Judge:
    with workshop.quiet(), told(f"{path}: Keras cannot load it"):
        model = workshop.keras().saving.load_model(path, compile=False)

    def judge(crops: Floats) -> NDArray[np.float64]:
        values = crops.transpose(0, 2, 3, 1)
        if len(model.inputs[0].shape) == 5:
            values = _windows(values, spec)
        return fake_scores(model.predict(values, batch_size=_BATCH, verbose=0), spec)

    return judge


def _windows(values: Floats, spec: ModelSpec) -> Floats:
    """Windows that overlap by half: Keras computes every crop of each."""
    return in_windows(values, spec.clip.frames, stride=max(spec.clip.frames // 2, 1))


def _judgement(
    key: tuple[str, str],
    variant: str,
    scores: Sequence[NDArray[np.float64]],
    first: Sequence[NDArray[np.float64]],
    truths: Sequence[bool],
    threshold: float,
) -> Judgement:
    def separated(values: Sequence[NDArray[np.float64]]) -> float:
        sides = [
            np.concatenate([one for one, truth in zip(values, truths, strict=True) if truth is side])
            for side in (False, True)
        ]
        return area_under_curve(*sides)

    every, reference = np.concatenate(scores), np.concatenate(first)
    apart = np.abs(every - reference)
    return Judgement(
        *key,
        variant=variant,
        auc_windows=separated(scores),
        auc_files=separated([one.mean(keepdims=True) for one in scores]),
        max_diff=float(apart.max()),
        mean_diff=float(apart.mean()),
        flips=int(((every >= threshold) != (reference >= threshold)).sum()),
        windows=len(every),
    )


def lost(judgements: Sequence[Judgement]) -> list[Judgement]:
    """Those whose area over windows lies more than MOST_LOST below that of the first, which is fp32.

    Files are few: where two of them change places, the area over files may change by more than that.
    """
    return [one for one in judgements if judgements[0].auc_windows - one.auc_windows > MOST_LOST]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--real", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--fake", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--self-blended", type=int, default=0, metavar="N", help="fakes of each real file (default: 0)")
    parser.add_argument("--strength", type=float, default=1.5, help="of their tone (default: 1.5)")
    parser.add_argument("--faces", default="auto", metavar="FINDER", help="what finds faces (default: auto)")
    parser.add_argument("--keras", type=Path, metavar="MODEL", help="the model that was converted")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        bundle = read_bundle(given.bundle)
        judgements = compare(bundle, _clips(given, bundle.spec.clip.sample_fps), given.keras)
    except DeepfakeEdgeError as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    if given.json:
        print(json.dumps([asdict(one) for one in judgements], indent=1))
    else:
        print(table([_row(one) for one in judgements], _HEADER))
    for one in lost(judgements):
        print(f"{one.runtime} {one.precision}: its area is more than {MOST_LOST} below fp32's", file=sys.stderr)
    return 1 if lost(judgements) else 0


def _clips(given: argparse.Namespace, fps: float | None) -> Iterator[tuple[FaceClip, bool]]:
    """Every file, and every fake made of a real one; whether it is fake."""
    for place, path in enumerate(given.real):
        clip = read_clip(path, fps, given.faces)
        yield clip, False
        for number in range(given.self_blended):
            yield self_blended(clip, (_SEED, place, number), given.strength), True
    for path in given.fake:
        yield read_clip(path, fps, given.faces), True


def _row(one: Judgement) -> tuple[str, ...]:
    areas = (f"{one.auc_windows:.4f}", f"{one.auc_files:.4f}")
    precision = one.precision if one.variant in ("", one.precision) else f"{one.precision} ({one.variant})"
    apart = (f"{one.max_diff:.1e}", f"{one.mean_diff:.1e}", str(one.flips), str(one.windows))
    return (one.runtime, precision, *areas, *apart)


if __name__ == "__main__":
    sys.exit(main())
