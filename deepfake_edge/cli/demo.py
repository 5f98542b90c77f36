"""`deepfake-edge demo`: the whole way on a sample, from the starter's .keras file to two verdicts."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from deepfake_edge.cli import convert as convert_command
from deepfake_edge.cli import detect as detect_command
from deepfake_edge.errors import InvalidInput
from deepfake_edge.sealed import write_atomically

_NOTICE = """\
A DEMONSTRATION, NOT A DETECTOR FOR REAL USE. The starter model learnt from seven people, and from fakes that were
made of them by self-blending. That it is right about these two clips says nothing about any other video."""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("demo", help="the whole way on a sample, from a .keras file to two verdicts")
    parser.add_argument("--out", type=Path, default=Path("deepfake-edge-demo"), metavar="DIR", help="where it all goes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Convert the starter, make a pristine and a blended clip, detect in both.

    Returns:
        0, or 1 where a verdict is wrong.
    """
    from deepfake_edge.training.starter import CARD, MODEL

    folder: Path = arguments.out
    seen = folder / "annotated"
    try:
        seen.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--out: {folder} cannot be made: {error.strerror}") from error
    model, clips = folder / MODEL.name, {"real": folder / "pristine.mp4", "fake": folder / "blended.mp4"}
    _say(f"1/4  copying the starter model to {model}, and what it is to {folder / CARD.name}")
    for source in (MODEL, CARD):
        write_atomically(source.read_bytes(), folder / source.name)
    _say(f"2/4  making {' and '.join(map(str, clips.values()))}: close-ups of a public-domain photograph in matplotlib")
    _make_clips(clips)
    bundle = model.with_suffix(".dfe")
    _say(f"3/4  deepfake-edge convert {model} --family mobile-gru -o {bundle}")
    _run(convert_command, [str(model), "--family", "mobile-gru", "-o", str(bundle)], arguments.quiet)
    names = [str(clip) for clip in clips.values()]
    _say(f"4/4  deepfake-edge detect {' '.join(names)} --faces whole --model {bundle} --annotate {seen}\n")
    results = folder / "verdicts.jsonl"
    options = ["--faces", "whole", "--model", str(bundle), "--annotate", str(seen), "--json", str(results)]
    code = _run(detect_command, [*names, *options], arguments.quiet)
    right = _compare(list(clips), results)
    print(f"\n{_NOTICE}\nLook at {seen}, read {folder / CARD.name}, then train your own: deepfake-edge prepare, train")
    return code or int(not right)


def _compare(truths: list[str], results: Path) -> bool:
    """Say which verdicts are right; True where all are."""
    labels = [json.loads(line).get("label") for line in results.read_text(encoding="utf-8").splitlines()]
    right = [label == truth for label, truth in zip(labels, truths, strict=True)]
    print(f"\n{sum(right)} of {len(right)} verdicts are right")
    return all(right)


def _make_clips(clips: dict[str, Path]) -> None:
    from deepfake_edge.training.sample_clip import make_close_up

    for truth, path in clips.items():
        make_close_up(path, blended=truth == "fake")


def _run(command: Any, arguments: list[str], quiet: bool) -> int:
    """Run a command by its own parser, so that the demo does what a user would type."""
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    parsed = parser.parse_args([command.__name__.rpartition(".")[2], *arguments])
    parsed.quiet = quiet
    return int(parsed.run(parsed))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
