"""`deepfake-edge detect INPUT... --model model.dfe`: files in, a verdict each."""

from __future__ import annotations

import argparse
import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from deepfake_edge.cli.options import add_detector_arguments, make_detector, model_files
from deepfake_edge.cli.progress import Progress
from deepfake_edge.cli.report import error_json, score_text, verdict_json
from deepfake_edge.cli.targets import refuse_overwriting
from deepfake_edge.containers import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from deepfake_edge.data import Verdict
from deepfake_edge.detector import Detector
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.protocols import Viewer
from deepfake_edge.sinks.annotated_video import AnnotatedVideo
from deepfake_edge.tables import table
from deepfake_edge.urls import redact
from deepfake_edge.verdict import MIN_SPAN_S

_HEADER = ("input", "verdict", "fake score", "tracks", "frames", "seconds", "note")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("detect", help="verdicts for videos, images and folders of them")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="video, image, folder (every file in it) or glob")
    add_detector_arguments(parser)
    parser.add_argument("--json", metavar="FILE", help="one JSON object a line per input; - for stdout")
    parser.add_argument("--annotate", type=Path, metavar="FILE", help="annotated .mp4; a folder for several inputs")
    parser.add_argument("--fps", type=float, metavar="N", help="a folder of images is one clip, at this frame rate")
    parser.set_defaults(run=run)


@dataclass(slots=True)
class _Outputs:
    """Where results go: a table on stdout unless JSON does."""

    json_lines: IO[str] | None
    rows: list[tuple[str, ...]]

    def verdict(self, name: str, verdict: Verdict, detector: Detector) -> None:
        self._line(verdict_json(name, verdict, detector))
        counting = sum(track.fake_score is not None for track in verdict.tracks)
        seconds = f"{verdict.timings_ms['total'] / 1000:.1f}"
        incomplete = None if verdict.complete else "INCOMPLETE"
        note = ": ".join(part for part in (incomplete, verdict.reason) if part)
        self.rows.append(
            (
                name,
                verdict.label,
                score_text(verdict.fake_score),
                f"{counting} of {len(verdict.tracks)}",
                str(verdict.frames_read),
                seconds,
                note,
            )
        )

    def error(self, name: str, error: DeepfakeEdgeError) -> None:
        name = redact(name) if "://" in name else name
        self._line(error_json(name, error))
        self.rows.append((name, "error", "-", "-", "-", "-", f"{type(error).__name__}: {error}"))

    def _line(self, value: dict[str, Any]) -> None:
        if self.json_lines is not None:
            print(json.dumps(value, allow_nan=False), file=self.json_lines, flush=True)


def run(arguments: argparse.Namespace) -> int:
    """Detect in every input; an input that fails is reported and the rest goes on.

    Returns:
        1 when an input failed, else 0.
    """
    inputs = list(expand(arguments.inputs, folders_are_clips=arguments.fps is not None))
    names = [name for name, _ in inputs]
    if arguments.fps is not None and not arguments.fps > 0:
        raise InvalidInput(f"--fps: wanted a number above 0, got {arguments.fps}")
    annotated = annotation_paths(names, arguments.annotate)
    refuse_overwriting([arguments.json, *annotated], [*names, *model_files(arguments.model)])
    failed = 0
    with ExitStack() as stack:
        detector = stack.enter_context(make_detector(arguments))
        outputs = _Outputs(_open_json(arguments.json, stack), [])
        for (name, unusable), annotation in zip(inputs, annotated, strict=True):
            try:
                if unusable is not None:
                    raise unusable
                outputs.verdict(name, _detect(detector, name, annotation, arguments.fps), detector)
            except DeepfakeEdgeError as error:
                outputs.error(name, error)
                failed += 1
        if arguments.json != "-":
            print(table(outputs.rows, _HEADER))
    return 1 if failed else 0


def expand(names: Sequence[str], *, folders_are_clips: bool) -> Iterator[tuple[str, InvalidInput | None]]:
    """Folders become the media files in them, patterns the files that match; all else stays as it is.

    Yields:
        a name, and why there is nothing to read behind it, or None.
    """
    for name in names:
        if os.path.isdir(name) and not folders_are_clips:
            found = sorted(str(path) for path in Path(name).rglob("*") if _is_media(path))
            if not found:
                yield name, InvalidInput(f"{name}: no video or image in this folder, or it cannot be read")
            yield from ((path, None) for path in found)
        elif glob.has_magic(name) and not os.path.exists(name):
            found = sorted(glob.glob(name, recursive=True))
            if not found:
                yield name, InvalidInput(f"{name}: nothing matches")
            yield from ((path, None) for path in found)
        else:
            yield name, None


def annotation_paths(inputs: Sequence[str], target: Path | None) -> list[Path | None]:
    """Where each input's annotated video goes.

    Raises:
        InvalidInput: several inputs, and the target is not a folder.
    """
    if target is None:
        return [None] * len(inputs)
    if len(inputs) == 1 and not target.is_dir():
        return [target]
    paths: list[Path | None] = []
    if target.suffix and not target.is_dir():
        raise InvalidInput(f"--annotate: {len(inputs)} inputs need a folder, got {target}")
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--annotate: {target} cannot be made: {error.strerror}") from error
    stems = [Path(name).stem for name in inputs]
    taken: set[str] = set()
    for number, stem in enumerate(stems, start=1):
        name = stem if stems.count(stem) == 1 else f"{number}-{stem}"
        while name in taken:
            name = f"{name}-again"
        taken.add(name)
        paths.append(target / f"{name}.mp4")
    return paths


def _detect(detector: Detector, name: str, annotation: Path | None, fps: float | None) -> Verdict:
    progress = Progress(name)
    viewers: list[Viewer] = []
    try:
        with ExitStack() as stack:
            if annotation is not None:
                viewers.append(stack.enter_context(_annotated_video(annotation, name, detector)))
            return detector.detect(name, fps=fps, viewers=viewers, progress=progress)
    finally:
        progress.end()


def _annotated_video(path: Path, name: str, detector: Detector) -> AnnotatedVideo:
    still = Path(name).suffix.lower() in IMAGE_SUFFIXES
    return AnnotatedVideo(path, detector.threshold, min_span_s=0.0 if still else MIN_SPAN_S)


def _open_json(target: str | None, stack: ExitStack) -> IO[str] | None:
    if target is None:
        return None
    if target == "-":
        return sys.stdout
    try:
        return stack.enter_context(open(target, "w", encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"--json: {target} cannot be written: {error.strerror}") from error


def _is_media(path: Path) -> bool:
    return path.name[0] != "." and path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and path.is_file()
