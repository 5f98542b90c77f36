"""JSON from an untrusted file: nothing ambiguous, and no more of it than a model can need."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from deepfake_edge.errors import ConversionError

MAX_BYTES = 32 * 1024**2
_MAX_ITEMS = 1_000_000
_MAX_DEPTH = 100
_MAX_DIGITS = 32


def parse_object(text: bytes, what: str) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        text: UTF-8.
        what: what to call it in a message.
    Raises:
        ConversionError: it is no JSON object; or it is larger or deeper than any model's, names a key twice, or holds
            NaN, Infinity or a number out of all range.
    """
    if len(text) > MAX_BYTES:
        raise ConversionError(f"{what}: {len(text)} bytes are more than a configuration may have ({MAX_BYTES})")
    # Every value but the first follows one of these, so this bounds what the parser will build.
    items = sum(text.count(mark) for mark in (b",", b"[", b"{", b":"))
    if items > _MAX_ITEMS:
        raise ConversionError(f"{what}: more than {_MAX_ITEMS} values, which no model's configuration has")
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_once,
            parse_constant=_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except RecursionError:
        raise ConversionError(f"{what}: is nested deeper than {_MAX_DEPTH} levels") from None
    except ValueError as error:
        raise ConversionError(f"{what}: is not the JSON of a model: {error}") from error
    if not isinstance(value, dict):
        raise ConversionError(f"{what}: does not describe a model")
    if _depth(value) > _MAX_DEPTH:
        raise ConversionError(f"{what}: is nested deeper than {_MAX_DEPTH} levels")
    return value


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:80]!r} stands twice in one object")
        found[key] = value
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no number that JSON has")


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:_MAX_DIGITS]} is out of range")
    return value


def _depth(value: Any) -> int:
    deepest, stack = 0, [(value, 1)]
    while stack:
        item, depth = stack.pop()
        deepest = max(deepest, depth)
        if isinstance(item, dict):
            stack.extend((part, depth + 1) for part in item.values())
        elif isinstance(item, list):
            stack.extend((part, depth + 1) for part in item)
    return deepest
