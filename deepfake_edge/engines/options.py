"""What can be asked of a build."""

from __future__ import annotations

from dataclasses import dataclass, field

from deepfake_edge.errors import InvalidInput

MAX_BATCH = 1024
_LEAST_WORKSPACE = 1024**2


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """For which batch sizes an engine is built: it takes `least` to `most` at once and is fastest at `best`.

    Raises:
        InvalidInput: they are not in that order, below 1, or above MAX_BATCH.
    """

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        sizes = (self.least, self.best, self.most)
        whole = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
        if not whole or not 1 <= self.least <= self.best <= self.most <= MAX_BATCH:
            raise InvalidInput(
                "batch: wanted the least, the best and the largest batch, from 1 to "
                f"{MAX_BATCH} and in that order, e.g. 1,8,16, got {','.join(map(str, sizes))}"
            )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Least, best and largest."""
        return self.least, self.best, self.most


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What is asked of a build.

    Attributes:
        batch: for which batch sizes.
        workspace_bytes: what TensorRT may use while it tries kernels, and a kernel while it runs; None: half of the
            GPU's free memory, at most 1 GiB.
        force: build again what is there already.

    Raises:
        InvalidInput: the workspace is below 1 MiB.
    """

    batch: BatchProfile = field(default_factory=lambda: BatchProfile(1, 8, 16))
    workspace_bytes: int | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if self.workspace_bytes is not None and self.workspace_bytes < _LEAST_WORKSPACE:
            raise InvalidInput(f"workspace: wanted at least 1MiB, got {self.workspace_bytes} bytes")
