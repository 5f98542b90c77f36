"""What H.264 leaves of pictures that follow each other: coded and decoded in memory.

PyAV's wheels bring FFmpeg with x264; OpenCV's have no H.264 encoder and give no way to set a quality.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any

from deepfake_edge.data import Pixels
from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.optional import require

ENCODER = "libx264"


def codec() -> ModuleType:
    """PyAV, with an H.264 encoder. Raises MissingDependency."""
    av = require("av", extra="train")
    if ENCODER not in av.codecs_available:
        raise MissingDependency(f"this PyAV was built without {ENCODER}. Try: pip install --only-binary :all: av")
    return av


def through_h264(pictures: Sequence[Pixels], crf: int) -> list[Pixels]:
    """Code and decode pictures as one clip; one thread, so that the same pictures give the same bytes.

    Args:
        pictures: uint8 (H, W, 3), BGR, all of one size; even sides, 16 or more.
        crf: x264's constant rate factor, 0 (lossless but for 4:2:0) to 51 (worst); 23 is x264's default.
    Returns:
        as many pictures, of the same size.
    Raises:
        InvalidInput: sizes differ, are odd or too small, or there is no such factor.
        MissingDependency: PyAV is not installed, or has no encoder.
    """
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1 or any(side % 2 or side < 16 for side in next(iter(shapes))[:2]):
        raise InvalidInput(f"pictures: wanted one size of even sides, 16 or more, got {sorted(shapes)}")
    if not 0 <= crf <= 51:
        raise InvalidInput(f"crf: wanted 0 to 51, got {crf}")
    av = codec()
    height, width = pictures[0].shape[:2]
    encoder = av.CodecContext.create(ENCODER, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.thread_count = Fraction(1, 25), 1
    # Macroblock trees read memory that x264 never set: the same pictures would give other bytes now and then.
    encoder.options = {"crf": str(crf), "preset": "veryfast", "mbtree": "0"}
    # One converter for all frames: to set it up takes twenty times as long as to use it.
    converter = av.video.reformatter.VideoReformatter()
    packets: list[Any] = []
    for number, picture in enumerate(pictures):
        frame = converter.reformat(av.VideoFrame.from_ndarray(picture, format="bgr24"), format="yuv420p")
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    converter = av.video.reformatter.VideoReformatter()
    decoded = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return [converter.reformat(frame, format="bgr24").to_ndarray() for frame in decoded]
