"""Rows laid out in columns, for people."""

from __future__ import annotations

from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Lay rows out in columns."""
    every = [[printable(cell) for cell in row] for row in ([header, *rows] if header else rows)]
    if not every:
        return ""
    widths = [max(len(row[column]) for row in every) for column in range(len(every[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]
    if header:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text without characters that could rewrite a terminal: names of files may hold any."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
