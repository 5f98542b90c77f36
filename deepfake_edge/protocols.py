"""What the pipeline needs of the world: a few verbs, no base classes, no registry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias, runtime_checkable

from numpy.typing import NDArray

from deepfake_edge.data import Face, Frame, Moment, Score, Verdict
from deepfake_edge.spec import CropSpec

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A network's input or output: its name, its shape (None for a dynamic axis) and its numpy dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Source(Protocol):
    """Frames in time order. A context manager; `frames` may be called once."""

    def __enter__(self) -> Source: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def frames(self) -> Iterator[Frame]:
        """Yield frames, then stop. Raises SourceError when nothing can be read at all."""
        ...

    @property
    def complete(self) -> bool:
        """Whether everything the source promised was read; meaningful once `frames` has ended."""
        ...

    @property
    def incomplete_reason(self) -> str | None:
        """Why `complete` is False; None when it is True."""
        ...

    @property
    def is_still(self) -> bool:
        """Whether the source is a single picture rather than something that moves."""
        ...

    @property
    def frame_count(self) -> int | None:
        """The number of frames that the source promises; None when it makes no promise (live, or unknown)."""
        ...


class FaceFinder(Protocol):
    """Finds faces in pictures."""

    def find(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Return the faces of each frame, in frame order; boxes in the frame's own pixels."""
        ...


class Network(Protocol):
    """A graph that computes. `run` may be called from several threads."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Compute every output. Raises InferenceError when it fails."""
        ...

    def close(self) -> None:
        """Free what it holds; may be called twice."""
        ...


@runtime_checkable
class FrameNetwork(Network, Protocol):
    """A network that also cuts its input out of frames itself, where it computes."""

    def run_on_faces(self, frame: Frame, boxes_xyxy: Array, crop: CropSpec) -> dict[str, Array]:
        """Compute every output for the crops of a frame's faces, cut as `preprocess.crop_batch` cuts them.

        Args:
            frame: BGR, RGB or NV12.
            boxes_xyxy: float32 (N, 4), pixels, C-contiguous; at least one.
            crop: how they are cut and normalised.
        Raises:
            InvalidInput: the frame or a box is wrong.
            InferenceError: it fails.
        """
        ...


class Sink(Protocol):
    """Takes results as they come."""

    def write(self, item: Score | Verdict) -> None: ...
    def close(self) -> None: ...


class Viewer(Protocol):
    """Shows frames together with what is known of them: an annotated video, a window."""

    def show(self, moment: Moment) -> None:
        """Take one frame; called for each in time order, before the next is read."""
        ...

    def close(self) -> None:
        """Finish what it makes; may be called twice."""
        ...
