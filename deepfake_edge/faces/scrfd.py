"""SCRFD and its kin through the insightface package."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepfake_edge.data import Face, Frame
from deepfake_edge.errors import InferenceError, InvalidInput, MissingDependency
from deepfake_edge.optional import require
from deepfake_edge.pixels import faces_from, shrink_to_bgr

LICENCE_NOTE = (
    "InsightFace's code is MIT, but every one of its model packs is for non-commercial research only "
    "(https://github.com/deepinsight/insightface/tree/master/model_zoo)."
)
DEFAULT_PACK = "buffalo_l"
DEFAULT_PACK = "buffalo_l"
_DETECTOR_NAMES = ("det_*.onnx", "scrfd_*.onnx", "retinaface_*.onnx")
_OUTPUT_COUNTS = (6, 9, 10, 15)


class Scrfd:
    """Finds faces with an InsightFace detector; five landmarks where the model gives them.

    InsightFace's model packs are for non-commercial research only, whatever the licence of its code
    (`licence_note`). This class never downloads one: the files must be there. One instance belongs to one thread.
    """

    licence_note = LICENCE_NOTE

    def __init__(
        self,
        pack_or_file: str | os.PathLike[str] = DEFAULT_PACK,
        *,
        root: str | os.PathLike[str] = "~/.insightface",
        score_threshold: float = 0.5,
        size_px: int = 640,
    ) -> None:
        """Load the detector of a pack, and nothing else of it.

        Args:
            pack_or_file: a pack's name, a pack's folder, or one ONNX file.
            root: packs are looked for in `root`/models/NAME.
            score_threshold: 0..1; faces below are dropped.
            size_px: frames are fitted into a square of this side; a multiple of 32. A model of fixed
                size takes its own.
        Raises:
            MissingDependency: insightface or the files are absent.
            InvalidInput: the file is not such a detector, or a number is out of range.
        """
        if not 0.0 <= score_threshold <= 1.0:
            raise InvalidInput(f"score_threshold: wanted 0..1, got {score_threshold!r}")
        if size_px < 32 or size_px % 32:
            raise InvalidInput(f"size_px: wanted a multiple of 32, got {size_px!r}")
        file = find_detector(pack_or_file, root)
        self._size_px = size_px
        self._detector = _load(file, size_px, score_threshold)

    def find(self, frames: Sequence[Frame]) -> list[list[Face]]:
        """Return the faces of each frame; see `FaceFinder`.

        Raises:
            InferenceError: the detector failed on a frame.
        """
        return [self._find(frame) for frame in frames]

    def _find(self, frame: Frame) -> list[Face]:
        picture, scale = shrink_to_bgr(frame, self._size_px)
        height, width = picture.shape[:2]
        # It fits the frame into its square and rounds the shorter side down, to 0 for a sliver.
        if min(height, width) * self._size_px < max(height, width):
            return []
        try:
            with _silence():
                boxes, points = self._detector.detect(picture)
        except Exception as error:  # onnxruntime's and OpenCV's errors share no base
            raise InferenceError(f"insightface failed on a frame of {frame.width}x{frame.height}: {error}") from error
        return faces_from(boxes[:, :4], boxes[:, 4], points, scale)


def find_detector(pack_or_file: str | os.PathLike[str], root: str | os.PathLike[str] = "~/.insightface") -> Path:
    """The ONNX file of a pack's face detector; looks at files only, never at the network.

    Raises:
        MissingDependency: the file, the pack's folder or a detector in it is not there; names where it was looked for.
    """
    named = Path(pack_or_file).expanduser()
    if named.suffix.lower() == ".onnx":
        if not named.is_file():
            raise MissingDependency(f"{named}: there is no such file. {LICENCE_NOTE}")
        return named
    folder = named if named.is_dir() else Path(root).expanduser() / "models" / named
    if not folder.is_dir():
        raise MissingDependency(
            f"insightface pack {str(pack_or_file)!r}: wanted its files in {folder}; nothing is downloaded unasked. "
            f"Unpack a pack's zip there, or name an ONNX file. {LICENCE_NOTE}"
        )
    for pattern in _DETECTOR_NAMES:
        matches = sorted(folder.glob(pattern))
        if matches:
            return matches[0]
    present = ", ".join(sorted(file.name for file in folder.iterdir())) or "nothing"
    raise MissingDependency(f"{folder}: wanted a detector ({', '.join(_DETECTOR_NAMES)}), found {present}")


def _load(file: Path, size_px: int, score_threshold: float) -> Any:
    with _silence():
        zoo = require("insightface.model_zoo", extra="insightface")
        try:
            # A file's name ends in .onnx, for which get_model never downloads.
            detector = zoo.get_model(str(file.resolve()), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base
            raise InvalidInput(f"{file}: not a model that insightface can read ({_first_line(error)})") from error
        outputs = len(getattr(detector, "output_names", ()))
        if getattr(detector, "taskname", None) != "detection" or outputs not in _OUTPUT_COUNTS:
            raise InvalidInput(f"{file}: wanted a face detector with {_OUTPUT_COUNTS} outputs, got {outputs}")
        fixed = getattr(detector, "input_size", None)
        detector.prepare(-1, input_size=fixed or (size_px, size_px), det_thresh=score_threshold)
    return detector


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """It prints what it loads, and warns of what its own dependencies deprecate."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
