"""Other people's exceptions as one line of ours."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deepfake_edge.errors import ConversionError, DeepfakeEdgeError

# What comes after these repeats the call or its surroundings.
_APPENDIX = re.compile(r"Arguments received by|Call arguments received|List of objects that|==> Context|Original stack")
_NOISE = re.compile(r"\x1b\[[0-9;]*m|\{\{.*?\}\}\s*")
_NAMED = re.compile(r"\w*(Error|Exception): ")
_MOST = 300


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn whatever is raised within into a ConversionError of one line; errors of our own pass."""
    try:
        yield
    except DeepfakeEdgeError:
        raise
    except Exception as error:
        raise ConversionError(f"{what}: {last_line(error)}") from error


def last_line(error: BaseException) -> str:
    """The line of an exception that says what is wrong: the last one before its appendices."""
    text = _APPENDIX.split(_NOISE.sub("", str(error)))[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    said = lines[-1] if _NAMED.match(lines[-1]) else f"{type(error).__name__}: {lines[-1]}"
    return said if len(said) <= _MOST else f"{said[:_MOST]} ..."
