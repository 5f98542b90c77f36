"""Values from outside: refused by their names, with what was wanted and what was found."""

from __future__ import annotations

from deepfake_edge.errors import InvalidInput


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raises InvalidInput: the value is none of those."""
    if value not in allowed:
        raise InvalidInput(f"{name}: wanted one of {', '.join(allowed)}, got {value!r}")


def check_whole(name: str, value: object, low: int, high: int) -> None:
    """Raises InvalidInput: the value is no whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidInput(f"{name}: wanted a whole number from {low} to {high}, got {value!r}")


def check_number(name: str, value: object, low: float, high: float) -> None:
    """Raises InvalidInput: the value is no number from `low` to `high`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Comparing first: a whole number may be too large to be a float at all.
    if not number or not low <= value <= high:  # type: ignore[operator]
        raise InvalidInput(f"{name}: wanted a number from {low:g} to {high:g}, got {value!r}")
