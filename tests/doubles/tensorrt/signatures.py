"""Arguments held against the signatures that pybind11 writes into its docstrings."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HEAD = re.compile(r"^(\w+)\((.*)\)(?: -> .+)?$")
_SEQUENCE = re.compile(r"^(?:List|list|collections\.abc\.Sequence)\[(.+)\]$")
# Addresses, handles and sizes are unsigned in C++, which the docstrings do not say.
_UNSIGNED = ("flags", "memory", "pool_size", "size", "stream_handle")
_MISSING = "<no default>"


class Mismatch(Exception):
    """An argument is not of the type that a signature names."""


@dataclass(frozen=True)
class Parameter:
    """A parameter as the docstring has it: `name: kind = default`."""

    name: str
    kind: str
    default: str


@functools.cache
def parameters(signature: str) -> tuple[Parameter, ...]:
    """The parameters of a signature, without `self`."""
    head = _HEAD.match(signature)
    assert head, signature
    found = []
    for part in _split(head[2]):
        name, _, rest = part.partition(":")
        kind, _, default = rest.partition(" = ")
        found.append(Parameter(name.strip(), kind.strip(), default.strip() if " = " in rest else _MISSING))
    return tuple(item for item in found if item.name != "self")


def _split(text: str) -> list[str]:
    """Cut at the commas that stand outside brackets."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(text):
        depth += (sign in "([<{") - (sign in ")]>}")
        if sign == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    return [part for part in (*parts, text[start:]) if part.strip()]


class Binder:
    """Binds arguments to one of a function's overloads, or raises TypeError as pybind11 does."""

    def __init__(self, name: str, signatures: Sequence[str], types: Mapping[str, type]) -> None:
        """Args: types: the module's classes and enums, by their names without namespace."""
        self._name = name
        self._signatures = tuple(signatures)
        self._types = types

    def bind(self, given: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Arguments by position and by name; a parameter whose default is taken is left out."""
        for signature in self._signatures:
            try:
                return self._fit(parameters(signature), given, named)
            except Mismatch:
                continue
        lines = "\n".join(f"    {number}. {text}" for number, text in enumerate(self._signatures, 1))
        raise TypeError(
            f"{self._name}(): incompatible function arguments. The following argument types are supported:\n{lines}\n\n"
            f"Invoked with: {', '.join([*map(repr, given), *(f'{key}={value!r}' for key, value in named.items())])}"
        )

    def _fit(
        self, overload: tuple[Parameter, ...], given: Sequence[Any], named: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        names = [parameter.name for parameter in overload]
        if len(given) > len(overload) or set(named) - set(names[len(given) :]):
            raise Mismatch
        positions = [self._convert(*pair) for pair in zip(overload, given, strict=False)]
        keywords = {}
        for parameter in overload[len(given) :]:
            if parameter.name in named:
                keywords[parameter.name] = self._convert(parameter, named[parameter.name])
            elif parameter.default == _MISSING:
                raise Mismatch
        return positions, keywords

    def _convert(self, parameter: Parameter, value: Any) -> Any:
        if value is None and parameter.default == "None":
            return None
        if parameter.name in _UNSIGNED and isinstance(value, int) and value < 0:
            raise Mismatch
        return convert(parameter.kind, value, self._types)


def convert(kind: str, value: Any, types: Mapping[str, type]) -> Any:
    """A value as C++ would take it. Raises Mismatch."""
    if kind in _SIMPLE:
        return _SIMPLE[kind](value)
    sequence = _SEQUENCE.match(kind)
    if sequence:
        return [convert(sequence[1], item, types) for item in _sequence(value)]
    name = kind.rpartition("::")[2]
    wanted = types.get(kind) or types.get(name)
    if wanted is None or not isinstance(value, wanted):
        if wanted is not None and name == "Dims":
            return wanted([_index(item) for item in _sequence(value)])
        raise Mismatch
    return value


def _index(value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise Mismatch from None


def _sequence(value: Any) -> Sequence[Any]:
    if isinstance(value, (str, bytes, bytearray)) or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        raise Mismatch
    return list(value)


def _buffer(value: Any) -> memoryview:
    try:
        return memoryview(value)
    except TypeError:
        raise Mismatch from None


def _number(value: Any) -> float:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise Mismatch
    return float(value)


def _exactly(*kinds: type) -> Callable[[Any], Any]:
    def take(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise Mismatch
        return value

    return take


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "int": _index,
    "typing.SupportsInt": _index,
    "float": _number,
    "typing.SupportsFloat": _number,
    "bool": _exactly(bool),
    "str": _exactly(str),
    "bytes": _exactly(bytes),
    "tuple": _exactly(tuple),
    "list": _exactly(list),
    "slice": _exactly(slice),
    "buffer": _buffer,
    "typing_extensions.Buffer": _buffer,
    "object": lambda value: value,
}
