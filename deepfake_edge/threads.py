"""How many threads a call may take."""

from __future__ import annotations

from deepfake_edge.errors import InvalidInput

# More than any processor has; libraries end in a traceback, or worse, over numbers that they cannot hold.
_MOST = 1024


def check_threads(threads: int) -> None:
    """Refuse what is no number of threads.

    Args:
        threads: 1 to 1024.
    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= _MOST:
        raise InvalidInput(f"threads: wanted a whole number from 1 to {_MOST}, got {threads!r}")
