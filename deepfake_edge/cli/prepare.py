"""`deepfake-edge prepare VIDEOS -o FOLDER`: a data set's clips become face pictures to train and evaluate on."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfake_edge.choices import FINDERS, choose_finder
from deepfake_edge.cli.progress import Progress
from deepfake_edge.tables import printable, table

if TYPE_CHECKING:
    from deepfake_edge.training.datasets.entries import ClipEntry
    from deepfake_edge.training.preparing.prepared import Prepared

_FRAMES, _FPS, _MOST_PX = 30, 12.0, 512
_NAMED = 5
_HEADER = ("data set", "split", "kind", "clips", "pictures", "missed faces", "no face", "unreadable")

logger = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("prepare", help="a data set's videos become face pictures to train on")
    parser.add_argument(
        "videos", type=Path, metavar="VIDEOS", help="FaceForensics++, Celeb-DF, DFDC, or real/ and fake/"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="new, or to be taken up again"
    )
    _add_data_set(parser.add_argument_group("the data set"))
    _add_pictures(parser.add_argument_group("the face pictures"))
    parser.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each CPU)")
    parser.set_defaults(run=run)


def _add_data_set(group: Any) -> None:
    group.add_argument("--kind", default="auto", metavar="LAYOUT", help="auto, faceforensics, celebdf, dfdc or plain")
    group.add_argument(
        "--splits", default="strict", metavar="MODE",
        help="strict: the published split without people who are in two parts of it; published: as it is; drawn: a new "
        "one by people (default: strict)",
    )  # fmt: skip
    group.add_argument("--compression", metavar="NAME", help="of FaceForensics++: raw, c0, c23 or c40")
    group.add_argument("--most", type=int, metavar="N", help="a subset of so many clips, even over labels and methods")


def _add_pictures(group: Any) -> None:
    group.add_argument("--frames", type=int, default=_FRAMES, metavar="N", help=f"of a clip (default: {_FRAMES})")
    group.add_argument("--consecutive", action="store_true", help="frames that follow each other; else evenly spread")
    group.add_argument("--fps", type=float, metavar="N", help=f"of consecutive frames (default: {_FPS:g})")
    group.add_argument("--seconds", type=float, metavar="S", help="look at a clip's first seconds alone")
    group.add_argument("--faces", default="auto", metavar="FINDER", help=f"auto, or one of {', '.join(FINDERS)}")
    group.add_argument(
        "--most-px", type=int, default=_MOST_PX, metavar="N",
        help=f"a face picture's longer side; larger ones are shrunk (default: {_MOST_PX})",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Prepare, print what is in the folder and what was left out.

    Returns:
        0, or 1 where no clip shows a face.
    """
    from deepfake_edge.training.datasets.reading import ReadOptions, read_dataset
    from deepfake_edge.training.preparing.preparing import prepare
    from deepfake_edge.training.preparing.settings import Settings

    options = ReadOptions(arguments.kind, arguments.splits, arguments.compression, arguments.most)
    finder, _ = choose_finder(arguments.faces)
    settings = Settings(
        frames=arguments.frames,
        spacing="consecutive" if arguments.consecutive else "evenly",
        fps=_FPS if arguments.consecutive and arguments.fps is None else arguments.fps,
        seconds=arguments.seconds,
        finder=arguments.faces if ":" in arguments.faces else finder.name,
        most_px=arguments.most_px,
    )
    dataset = read_dataset(arguments.videos, options)
    for note in dataset.notes:
        print(printable(f"note: {note}"), flush=True)
    logger.info("faces: %s", finder)
    jobs = len(os.sched_getaffinity(0)) if arguments.jobs is None else arguments.jobs
    progress = Progress("prepare")
    try:
        prepared = prepare(dataset, arguments.output, settings, jobs, progress)
    finally:
        progress.end()
    print_summary(prepared)
    for note in _lacking(prepared):
        if note not in dataset.notes:
            print(printable(f"note: {note}"))
    return 0 if prepared.clips else 1


def print_summary(prepared: Prepared) -> None:
    """Print what a prepared folder holds, and what was left out."""
    from deepfake_edge.training.preparing.one_clip import NO_FACE

    print(table(_rows(prepared), _HEADER))
    gone = sorted(prepared.left_out, key=lambda clip: clip.reason == NO_FACE)
    for clip in gone[:_NAMED]:
        print(printable(f"left out: {clip.entry.source}: {clip.reason}"), file=sys.stderr)
    if len(gone) > _NAMED:
        print(f"left out: and {len(gone) - _NAMED} more", file=sys.stderr)
    if not prepared.clips:
        print("error: no clip shows a face that was found", file=sys.stderr)
    count = len(prepared.clips)
    print(f"\n{count} {'clip' if count == 1 else 'clips'} in {printable(str(prepared.folder))}")


def _lacking(prepared: Prepared) -> list[str]:
    """Notes on splits that were left without a clip, or without one of a label."""
    from deepfake_edge.training.datasets.splits import lacking

    by_dataset: defaultdict[str, list[ClipEntry]] = defaultdict(list)
    for clip in prepared.clips:
        by_dataset[clip.entry.dataset].append(clip.entry)
    return [f"{name}: {note}" for name, entries in sorted(by_dataset.items()) for note in lacking(entries)]


def _rows(prepared: Prepared) -> list[tuple[str, ...]]:
    """A row for each data set, split and kind."""
    from deepfake_edge.training.datasets.entries import SPLITS
    from deepfake_edge.training.datasets.splits import kind_of
    from deepfake_edge.training.preparing.one_clip import NO_FACE
    from deepfake_edge.training.preparing.prepared import PreparedClip

    figures: defaultdict[tuple[str, int, str], Counter[str]] = defaultdict(Counter)
    for clip in prepared.records:
        counts = figures[clip.entry.dataset, SPLITS.index(clip.entry.split), kind_of(clip.entry)]
        if isinstance(clip, PreparedClip):
            counts.update({"clips": 1, "pictures": len(clip.seen), "missed": clip.seen.count(False)})
        else:
            counts[NO_FACE if clip.reason == NO_FACE else "unreadable"] += 1
    columns = ("clips", "pictures", "missed", NO_FACE, "unreadable")
    return [
        (dataset, SPLITS[split], kind, *(str(counts[column]) for column in columns))
        for (dataset, split, kind), counts in sorted(figures.items())
    ]
