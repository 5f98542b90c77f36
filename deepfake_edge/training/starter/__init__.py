"""The starter: a small model of our own, trained by this project's commands. A demonstration, not a detector.

starter.keras   the model
recipe.md       the commands that made it
run.json        the configuration of its training
about.json      what its makers say of it, for the card
CARD.md         its card, made by `training.card`
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
MODEL, CARD, RUN = _FOLDER / "starter.keras", _FOLDER / "CARD.md", _FOLDER / "run.json"
