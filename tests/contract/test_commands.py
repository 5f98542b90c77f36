"""Whatever is recommended to users exists: commands and their options, in docs, messages and help."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from deepfake_edge.cli import main

ROOT = Path(__file__).resolve().parents[2]
TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "deepfake_edge/**/*.py",
        "deepfake_edge/**/*.md",
        "converters/**/*.py",
        "benchmarks/**/*.py",
    )
    for path in ROOT.glob(pattern)
)
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
# In code, after a colon or a prompt: there it is a command and no sentence.
COMMAND = re.compile(r"(?:`|: |\$ |^ *)deepfake-edge ([a-z]+)((?: [^`\n\"]*)?)", re.MULTILINE)
OPTION = re.compile(r"(?<=\s)--[a-z][a-z-]*")


def code_in(path):
    text = path.read_text(encoding="utf-8")
    return "\n".join(CODE.findall(text)) if path.suffix == ".md" else text


def recommended():
    return sorted(
        {
            (command, option, path.name)
            for path in TEXTS
            for command, rest in COMMAND.findall(code_in(path))
            for option in ["", *OPTION.findall(rest)]
        }
    )


def help_of(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"] if command else ["--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


def test_every_command_and_option_that_is_recommended_exists(capsys):
    found = recommended()
    known = set(re.findall(r"^ {4}([a-z]+) ", help_of("", capsys), re.MULTILINE))
    assert {"convert", "detect", "train"} <= known
    assert {command for command, _, _ in found} >= {"convert", "detect", "train", "build", "prepare"}
    unknown = [(command, name) for command, _, name in found if command not in known]
    assert not unknown
    options = {command: set(OPTION.findall(help_of(command, capsys))) | {"--version"} for command in known}
    assert not [item for item in found if item[1] and item[1] not in options[item[0]]]
