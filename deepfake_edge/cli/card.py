"""`deepfake-edge card RUN --about FILE`: what a model is, what it learnt from, and how good it is, as one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from deepfake_edge.sealed import write_atomically


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("card", help="a model card from a training run and its evaluations")
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="made by `train`")
    parser.add_argument(
        "--about", type=Path, required=True, metavar="FILE",
        help="JSON of what only you know: title, notice, limits, data (name, clips, licence, credit each), evaluated",
    )  # fmt: skip
    parser.add_argument(
        "--report", type=Path, action="append", default=[], metavar="FILE", help="report.json of `evaluate`; repeatable"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("CARD.md"), metavar="FILE", help="default: CARD.md")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the card."""
    from deepfake_edge.training.card import make_card, read_about

    card = make_card(read_about(arguments.about), arguments.run_folder, arguments.report)
    write_atomically(card.encode(), arguments.output)
    print(f"wrote {arguments.output}")
    return 0
