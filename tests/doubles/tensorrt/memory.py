"""Device memory of the double's own."""

from __future__ import annotations

import weakref

from doubles.tensorrt.driver import DriverRefusal
from doubles.tensorrt.library import Library


class Block:
    """Device memory of an engine or a context, given back when its owner is."""

    def __init__(self, library: Library, size_bytes: int, owner: str) -> None:
        """Raises DriverRefusal."""
        self.address = library.memory.allocate(size_bytes)
        self.alive = True
        self._finalizer = weakref.finalize(self, _free, library, self.address, owner)
        self._finalizer.atexit = False


def _free(library: Library, address: int, owner: str) -> None:
    try:
        library.memory.free(address)
    except DriverRefusal as error:
        if not library.cuda.sticky:
            library.errors.append(f"{owner}: its memory was freed after its CUDA context was gone ({error})")
