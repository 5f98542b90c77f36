"""What a Python binding of CUDA has to do, and what it hands out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass
class Handle:
    """Memory or a stream, as a binding holds it.

    Attributes:
        native: the binding's own object. Nothing else may refer to it: some bindings free what nothing refers to.
        value: the device's address of memory, or a stream's CUstream.
        host: the host's address of pinned memory.
    """

    native: Any
    value: int
    host: int = 0


class Binding(Protocol):
    """One device's primary context through a binding, retained when it is made.

    Every method raises `DriverFailure`. `push`, `pop` and `release` apart, a context has to be current.
    """

    name: str

    def push(self) -> None: ...
    def pop(self) -> None: ...
    def release(self) -> None:
        """Give the context back; it is current in no thread."""

    def allocate(self, size_bytes: int) -> Handle: ...
    def free(self, memory: Handle) -> None: ...
    def pin(self, size_bytes: int) -> Handle:
        """Page-locked memory of the host that the device sees too."""

    def unpin(self, memory: Handle) -> None: ...
    def create_stream(self) -> Handle:
        """A stream that does not wait for the default one."""

    def destroy_stream(self, stream: Handle) -> None: ...
    def synchronize(self, stream: Handle) -> None: ...
    def copy_to_device(self, address: int, host: NDArray[np.generic], stream: Handle) -> None: ...
    def copy_from_device(self, host: NDArray[np.generic], address: int, stream: Handle) -> None: ...
