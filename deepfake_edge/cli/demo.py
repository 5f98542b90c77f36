"""`deepfake-edge demo`: the whole way on a sample, from a .keras file to a verdict."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from deepfake_edge.cli import convert as convert_command
from deepfake_edge.cli import detect as detect_command
from deepfake_edge.errors import InvalidInput

_FAMILY = "xception-lstm"
_UNTRAINED = """\
These weights are UNTRAINED: seeded random numbers in the architecture that others train. The verdict above shows
that the whole way works; it says nothing about the picture."""


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("demo", help="the whole way on a sample, from a .keras file to a verdict")
    parser.add_argument("--out", type=Path, default=Path("deepfake-edge-demo"), metavar="DIR", help="where it all goes")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Make a model and a clip, convert the one, detect in the other."""
    folder: Path = arguments.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"--out: {folder} cannot be made: {error.strerror}") from error
    model, clip = folder / f"{_FAMILY}.keras", folder / "clip.mp4"
    _say(f"1/4  building {model}: 30 x 299 x 299, with seeded weights")
    _build_model(model)
    _say(f"2/4  making {clip} from a public-domain photograph (Grace Hopper, US Navy; it ships with matplotlib)")
    from deepfake_edge.training.sample_clip import make_clip

    make_clip(clip)
    _say(f"3/4  deepfake-edge convert {model}")
    bundle = model.with_suffix(".dfe")
    convert_command.run(_parsed(convert_command, [str(model), "-o", str(bundle)], arguments.quiet))
    seen = folder / "annotated.mp4"
    _say(f"4/4  deepfake-edge detect {clip} --model {bundle} --annotate {seen}\n")
    code = detect_command.run(
        _parsed(detect_command, [str(clip), "--model", str(bundle), "--annotate", str(seen)], arguments.quiet)
    )
    print(f"\n{_UNTRAINED}\nLook at {seen}, then convert a model of your own: deepfake-edge convert model.keras")
    return code


def _parsed(command: Any, arguments: list[str], quiet: bool) -> argparse.Namespace:
    """The command's own parser, so that the demo runs what a user would type."""
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    parsed = parser.parse_args([command.__name__.rpartition(".")[2], *arguments])
    parsed.quiet = quiet
    return parsed


def _build_model(path: Path) -> None:
    from deepfake_edge.training.families import FAMILIES
    from deepfake_edge.training.untrained import seed_weights

    family = FAMILIES[_FAMILY]
    model = family.build()
    seed_weights(model, family.spec)
    model.save(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
