"""Every kind of model that is promised: built, saved, converted, held against its source, and run on a clip.

    python -m deepfake_edge.benchmarks.matrix [--full] [--clip FILE] [--only TEXT] [--json]

Weights are seeded, not trained: the verdicts show that the way works and mean nothing else. Small sizes take
seconds a row; `--full` takes the sizes that the families were published with. Needs the `convert` extra.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deepfake_edge.benchmarks import sample_models
from deepfake_edge.converters import ConversionReport, ConvertOptions, convert
from deepfake_edge.detector import Detector
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.tables import table
from deepfake_edge.training import workshop
from deepfake_edge.training.families import FAMILIES
from deepfake_edge.training.sample_clip import make_clip
from deepfake_edge.training.untrained import seed_weights

_SMALL: Mapping[str, Mapping[str, int]] = {
    "xception-lstm": {"frames": 4, "size_px": 71, "units": 8},
    "resnet-lstm": {"frames": 4, "size_px": 32, "units": 8},
    "xception-conv-rnn": {"frames": 4, "size_px": 71, "units": 8},
    "cnn-lstm": {"frames": 5, "size_px": 20},
    "resnext50-lstm": {"frames": 4, "size_px": 32, "units": 8},
    "cnn": {"size_px": 32, "filters": 4},
    "meso4": {"size_px": 64},
    "mesoinception4": {"size_px": 64},
    "mobile-gru": {"frames": 4, "size_px": 32, "units": 8},
}
_FORMS = (".keras", ".h5", ".weights.h5")
_CUSTOM = ModelSpec(
    family="custom",
    crop=CropSpec(size_px=32),
    clip=ClipSpec(frames=4, sample_fps=10.0),
    classes=("real", "fake"),
    activation="softmax",
)
_HEADER = ("model", "file", "weights", "seconds", "peak GB", "difference", "fake scores", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of model in one kind of file.

    Attributes:
        name: of the model.
        file: of the file, in words.
        make: builds and saves it in a folder; gives the file and how many weights it has.
        family: what `--family` has to say; None where the file says it.
        overrides: what `--spec` and `--classes` have to say.
        fused: converted whole.
        trust_source: is a SavedModel.
    """

    name: str
    file: str
    make: Callable[[Path], tuple[Path, int]]
    family: str | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    fused: bool = False
    trust_source: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row."""

    row: Row
    weights: int
    report: ConversionReport
    label: str
    fake_score: float | None
    scores: int

    def cells(self) -> tuple[str, ...]:
        """As a line of a table."""
        parity = self.report.parity
        return (
            self.row.name,
            self.row.file,
            f"{self.weights:,}",
            f"{sum(self.report.seconds.values()):.1f}",
            f"{self.report.peak_memory_bytes / 1e9:.2f}",
            f"{parity['outputs_max_diff']:.1g}",
            f"{parity['fake_score_min']:.2f}-{parity['fake_score_max']:.2f}",
            f"{self.label} {self.fake_score:.2f}" if self.fake_score is not None else self.label,
        )


def main(arguments: list[str] | None = None) -> int:
    """Run every row, print a table or JSON; 1 when one failed."""
    parser = argparse.ArgumentParser(description="Convert and run every kind of model that is promised.")
    parser.add_argument("--full", action="store_true", help="the families' own sizes")
    parser.add_argument("--clip", type=Path, help="a video with a face (default: one made from a photograph)")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose name and file hold this text")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    lines: list[tuple[str, ...]] = []
    failed = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = given.clip or folder / "clip.mp4"
        if given.clip is None:
            make_clip(clip)
        for row in rows(full=given.full):
            if given.only not in f"{row.name} {row.file}":
                continue
            print(f"{row.name}, {row.file}", file=sys.stderr, flush=True)
            try:
                lines.append(run_row(row, folder, clip).cells())
            except DeepfakeEdgeError as error:
                lines.append((row.name, row.file, "-", "-", "-", "-", "-", f"{type(error).__name__}: {error}"))
                failed += 1
        if not given.full and given.only in "ensemble":
            print("ensemble", file=sys.stderr, flush=True)
            lines.append(_ensemble(folder, clip))
    if given.json:
        print(json.dumps([dict(zip(_HEADER, line, strict=True)) for line in lines], indent=1))
    else:
        print(table(lines, _HEADER))
    return 1 if failed else 0


def run_row(row: Row, folder: Path, clip: Path) -> Outcome:
    """Make a row's file, convert it, and run the bundle on a clip.

    Raises:
        DeepfakeEdgeError: anything of it failed.
    """
    source, weights = row.make(folder)
    options = ConvertOptions(family=row.family, overrides=row.overrides, fused=row.fused, trust_source=row.trust_source)
    report = convert(source, folder / "row.dfe", options)
    with Detector(report.path) as detector:
        verdict = detector.detect(clip)
    return Outcome(row, weights, report, verdict.label, verdict.fake_score, len(verdict.scores))


def _ensemble(folder: Path, clip: Path) -> tuple[str, ...]:
    """A temporal and a per-frame model that judge together, as a line of the table."""
    names = ("resnet-lstm", "cnn")
    outcomes = []
    for name in names:
        outcomes.append(run_row(_family_row(name, _SMALL[name], ".keras"), folder, clip))
        outcomes[-1].report.path.rename(folder / f"{name}.dfe")
    listed = [{"bundle": f"{name}.dfe", "weight": weight} for name, weight in zip(names, (0.6, 0.4), strict=True)]
    recipe = folder / "ensemble.json"
    recipe.write_text(json.dumps({"models": listed}), encoding="utf-8")
    with Detector(recipe) as detector:
        verdict = detector.detect(clip)
    verdict_text = verdict.label if verdict.fake_score is None else f"{verdict.label} {verdict.fake_score:.2f}"
    weights = f"{sum(outcome.weights for outcome in outcomes):,}"
    return (f"ensemble of {' and '.join(names)}", ".json of bundles", weights, "-", "-", "-", "-", verdict_text)


def rows(*, full: bool = False) -> Iterator[Row]:
    """Every row, families first.

    Args:
        full: the families at their own sizes, each in one file, and nothing else.
    """
    if full:
        yield from (_family_row(name, {}, ".keras") for name in FAMILIES)
        yield _saved_model_row({})
        return
    for name in FAMILIES:
        yield from (_family_row(name, _SMALL[name], form) for form in _FORMS)
    for variant in ({"rnn": "bilstm"}, {"rnn": "gru"}, {"rnn": "bigru"}, {"frame_scores": 1}):
        yield _family_row("xception-conv-rnn", {**_SMALL["xception-conv-rnn"], **variant}, ".keras")
    yield _saved_model_row(_SMALL["cnn-lstm"])
    yield from _shape_rows()
    yield from _onnx_rows()


def _family_row(name: str, sizes: Mapping[str, int | str], form: str) -> Row:
    listed = ",".join(f"{key}={value}" for key, value in sizes.items())

    def make(folder: Path) -> tuple[Path, int]:
        model = FAMILIES[name].build(**sizes)
        seed_weights(model, _sized(FAMILIES[name].spec, sizes))
        return _saved(model, folder, form)

    title = name + "".join(f" {key}={value}" for key, value in sizes.items() if key in ("rnn", "frame_scores"))
    if form == ".weights.h5":
        return Row(title, f"{form}, --family", make, family=f"{name}:{listed}" if listed else name)
    return Row(title, f"{form}, whole model", make)


def _sized(spec: ModelSpec, sizes: Mapping[str, int | str]) -> ModelSpec:
    crop = replace(spec.crop, size_px=int(sizes.get("size_px", spec.crop.size_px)))
    return replace(spec, crop=crop, clip=replace(spec.clip, frames=int(sizes.get("frames", spec.clip.frames))))


def _saved(model: Any, folder: Path, form: str) -> tuple[Path, int]:
    path = folder / f"model{form}"
    with workshop.quiet():
        model.save_weights(path) if form == ".weights.h5" else model.save(path)
    return path, int(model.count_params())


def _saved_model_row(sizes: Mapping[str, int]) -> Row:
    def make(folder: Path) -> tuple[Path, int]:
        family = FAMILIES["cnn-lstm"]
        twin = family.build(**sizes)
        seed_weights(twin, _sized(family.spec, sizes))
        model = sample_models.subclassed_cnn_lstm(twin)
        path = folder / "saved_model"
        with workshop.quiet():
            model.export(path, verbose=False)
        return path, int(model.count_params())

    listed = ",".join(f"{key}={value}" for key, value in sizes.items())
    family = f"cnn-lstm:{listed}" if listed else "cnn-lstm"
    return Row("cnn-lstm", "SavedModel, --trust-source", make, family=family, trust_source=True)


_SPEC = {
    "margin": "1", "fit": "stretch", "resize": "linear", "channel_order": "rgb", "mean": "127.5", "scale": "1/127.5",
    "sample_fps": "10", "classes": "real,fake",
}  # fmt: skip
_RAW = {key: value for key, value in _SPEC.items() if key not in ("mean", "scale")}


def _shape_rows() -> Iterator[Row]:
    """Models of no family, cut by structure alone."""
    for name, build in sample_models.SHAPES.items():
        raw = name.startswith(("Rescaling", "EfficientNet"))
        overrides = _RAW if raw else _SPEC
        yield Row(name, ".keras, --spec", _shape_maker(build, raw=raw), overrides=overrides)
    whole = _shape_maker(sample_models.conv3d, raw=False)
    yield Row("Conv3D", ".keras, --spec --fused", whole, overrides=_SPEC, fused=True)


def _shape_maker(build: Callable[[], Any], *, raw: bool) -> Callable[[Path], tuple[Path, int]]:
    def make(folder: Path) -> tuple[Path, int]:
        model = build()
        crop = replace(_CUSTOM.crop, mean=(0.0,) * 3, scale=(1.0,) * 3) if raw else _CUSTOM.crop
        crop = replace(crop, size_px=model.input_shape[2])
        seed_weights(model, replace(_CUSTOM, crop=crop))
        return _saved(model, folder, ".keras")

    return make


def _onnx_rows() -> Iterator[Row]:
    """ONNX files as tf2onnx's users make them: channels last, one of logits."""
    logits = {**_SPEC, "activation": "logits"}
    yield Row("per-frame CNN", ".onnx NHWC, logits", _onnx_maker(sample_models.logits_cnn, 1), overrides=logits)
    yield Row("Conv3D", ".onnx of clips", _onnx_maker(sample_models.conv3d, 4), overrides=_SPEC)


def _onnx_maker(build: Callable[[], Any], frames: int) -> Callable[[Path], tuple[Path, int]]:
    def make(folder: Path) -> tuple[Path, int]:
        tf = workshop.tensorflow()
        model = build()
        seed_weights(model, replace(_CUSTOM, clip=ClipSpec(frames, 10.0)))
        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="pictures")]
        traced = tf.function(lambda pictures: model(pictures, training=False), input_signature=signature)
        with workshop.quiet():
            exported, _ = workshop.tf2onnx().convert.from_function(traced, input_signature=signature, opset=17)
        path = folder / "model.onnx"
        path.write_bytes(exported.SerializeToString())
        return path, int(model.count_params())

    return make


if __name__ == "__main__":
    raise SystemExit(main())
