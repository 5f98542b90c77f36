"""What a video file's own structure promises: whether bytes are missing, and whether its frames are counted.

OpenCV gives one frame count for all containers. In MP4 and QuickTime it is counted, elsewhere it is duration
times frame rate; and a file that was cut off looks like one that ended. The structure tells these apart, with a
few seeks and without decoding anything.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from deepfake_edge.errors import SourceError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".flv"})

_HEAD_BYTES = 4096
_MAX_FRAME_COUNT = 1e9
_FALLBACK_FPS = 25.0
# A sample table of a day of video stays far below this; more is not read.
_MOOV_LIMIT_BYTES = 256 << 20
_MP4_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp"}
_PLAYLIST_STARTS = (b"#extm3u", b"ffconcat", b"<?xml", b"<mpd", b"[playlist]", b"v=0", b"#!", b"[reference]")
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"II*\0", b"MM\0*")
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT_ID = 0x18538067


@dataclass(frozen=True, slots=True)
class Promise:
    """What a container says of itself.

    Attributes:
        truncated: the structure goes on behind the end of the file.
        counted: the container counts its frames, and means to show every one of them.
        shown_s: seconds that an edit list leaves of a longer recording; None without such a list.
    """

    truncated: bool = False
    counted: bool = False
    shown_s: float | None = None


def check_name(name: str | Path, shown: str | None = None) -> None:
    """Refuse a name that would end the process: OpenCV crashes on one that is not UTF-8.

    Args:
        name: what OpenCV would be given.
        shown: what to call it in the message; None shows the name itself.
    Raises:
        SourceError: it has bytes that are not UTF-8.
    """
    try:
        str(name).encode()
    except UnicodeEncodeError:
        # Escaped, because such a name cannot be printed everywhere either.
        raise SourceError(
            f"{shown or str(name)!a}: its name is not UTF-8, which OpenCV cannot open; rename it"
        ) from None


def refusal(path: Path) -> str | None:
    """Why the file is not a video that may be opened; None when nothing speaks against it.

    FFmpeg opens playlists, session descriptions and scripts by their content, and then whatever they name; all
    of them are text, and no video is.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "is empty"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.lower().startswith(_PLAYLIST_STARTS) or _is_text(head):
        return "is text or a playlist, not a video"
    if head.startswith(_PICTURE_STARTS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "is a picture, not a video"
    return None


def read_promise(path: Path) -> Promise:
    """Read the promise of a file that is open for anybody to change; a damaged structure promises nothing."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(64)
        try:
            if head[4:8] in _MP4_FIRST_BOXES:
                return _mp4(file, size)
            if head[:4] == b"RIFF" and head[8:11] == b"AVI":
                return Promise(truncated=8 + int.from_bytes(head[4:8], "little") > size)
            if head[:4] == _EBML:
                return Promise(truncated=_segment_end(head) > size)
        except (struct.error, IndexError, KeyError, ValueError, ZeroDivisionError):
            return Promise()
    return Promise()


class Account:
    """The frames that were decoded of a file, against what the file says of itself."""

    def __init__(self, promise: Promise, fps: float = 0.0, count: float = 0.0) -> None:
        """Start without a frame.

        Args:
            promise: the container's.
            fps: OpenCV's frame rate; one that cannot be is replaced.
            count: OpenCV's frame count; one that cannot be is none.
        """
        self._promise = promise
        self._times = _Times(fps)
        self.frame_count = round(count) if 0.5 <= count <= _MAX_FRAME_COUNT else None

    def add(self, stamp_ms: float) -> float:
        """Count the next frame by OpenCV's stamp of it; returns its time in seconds since the first."""
        return self._times.add(stamp_ms)

    def missing(self) -> str | None:
        """Why the file is incomplete; only where two of its own statements agree, so that no whole file is accused.

        Fewer frames than counted is not enough: interlaced files may count every field. So the timestamps must
        show a hole or an early end as well.
        """
        count, read, times = self.frame_count, self._times.count, self._times
        if self._promise.shown_s is None and count is not None and read >= count:
            return None
        if self._promise.truncated:
            whole = "its frames" if count is None else f"{count} frames"
            return f"the file is cut short: {read} of {whole} could be decoded"
        if self._promise.counted and count is not None:
            stated_s = count * times.nominal_step_s
            gone = times.has_hole() or times.ends_s < stated_s - 0.5 * times.nominal_step_s
            return f"{read} of {count} frames could be decoded" if gone else None
        stated_s = self._promise.shown_s or (count or 0) * times.nominal_step_s
        if times.ends_s < stated_s - max(1.0, 0.1 * stated_s):
            return f"the pictures end at {times.ends_s:.1f} s of {stated_s:.1f} s"
        return None


def _is_text(head: bytes) -> bool:
    printable = sum(byte >= 32 or byte in b"\t\n\r\f" for byte in head)
    return b"\0" not in head and printable == len(head)


def _segment_end(head: bytes) -> int:
    """Where Matroska's one Segment ends; 0 when it was written live, without a size."""
    size, position = _ebml_number(head, 4)
    position += size
    if int.from_bytes(head[position : position + 4], "big") != _SEGMENT_ID:
        return 0
    length, start = _ebml_number(head, position + 4)
    unknown = length == (1 << (7 * (start - position - 4))) - 1
    return 0 if unknown else start + length


def _ebml_number(data: bytes, position: int) -> tuple[int, int]:
    width = 9 - data[position].bit_length()
    if width > 8 or position + width > len(data):
        raise ValueError("not an EBML number")
    value = int.from_bytes(data[position : position + width], "big") & ((1 << (7 * width)) - 1)
    return value, position + width


def _mp4(file: BinaryIO, size: int) -> Promise:
    position, truncated, moov, fragmented = 0, False, b"", False
    while position + 8 <= size:
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if length == 1:
            length, header = struct.unpack(">Q", file.read(8))[0], 16
        elif length == 0:
            length = size - position
        if length < header:
            break
        truncated = position + length > size
        fragmented = fragmented or kind == b"moof"
        if kind == b"moov" and length < _MOOV_LIMIT_BYTES:
            moov = file.read(length - header)
        position += length
    counted, shown_s = (False, None) if fragmented or not moov else _video_track(moov)
    return Promise(truncated, counted, shown_s)


def _video_track(moov: bytes) -> tuple[bool, float | None]:
    """Whether every sample of the first video track is shown, and for how long if not."""
    movie = dict(_boxes(moov))
    for kind, track in _boxes(moov):
        media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b""))) if kind == b"trak" else {}
        if media.get(b"hdlr", b"")[8:12] != b"vide":
            continue
        edits = dict(_boxes(dict(_boxes(track)).get(b"edts", b""))).get(b"elst")
        if edits is None:
            return True, None
        recorded_s = _duration_s(media[b"mdhd"])
        shown_s = _edited(edits) / struct.unpack_from(">I", movie[b"mvhd"], 20 if movie[b"mvhd"][0] else 12)[0]
        samples = _sample_count(media)
        # An encoder's delay is an edit list too, one that leaves out nothing.
        whole = shown_s <= 0 or recorded_s - shown_s < 0.5 * recorded_s / max(samples, 1)
        return whole, None if whole else shown_s
    return False, None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if length < 8:
            return
        yield kind, data[position + 8 : position + length]
        position += length


def _duration_s(mdhd: bytes) -> float:
    timescale, duration = struct.unpack_from(">IQ", mdhd, 20) if mdhd[0] else struct.unpack_from(">II", mdhd, 12)
    return float(duration / timescale)


def _edited(elst: bytes) -> int:
    """Length of all edits that show something, in the movie's time scale."""
    entry = struct.Struct(">Qqi" if elst[0] else ">Iii")
    count = min(struct.unpack_from(">I", elst, 4)[0], (len(elst) - 8) // entry.size)
    rows = (entry.unpack_from(elst, 8 + row * entry.size) for row in range(count))
    return sum(length for length, start, _ in rows if start >= 0)


def _sample_count(media: dict[bytes, bytes]) -> int:
    table = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
    return int(struct.unpack_from(">I", table[b"stsz"], 8)[0]) if b"stsz" in table else 0


class _Times:
    """Timestamps of decoded frames, in seconds since the first of them."""

    def __init__(self, fps: float) -> None:
        usable = math.isfinite(fps) and 0.0 < fps <= 1000.0
        self.nominal_step_s = 1.0 / (fps if usable else _FALLBACK_FPS)
        self.count = 0
        self._first_s = self._last_s = self._longest_step_s = 0.0

    def add(self, stamp_ms: float) -> float:
        """Take the next frame's stamp.

        OpenCV gives 0 for a frame without one (MPEG program streams, raw H.264): it follows the frame before at
        the nominal rate. A stamp that goes back is held.
        """
        stamp_s = stamp_ms / 1000.0
        if self.count == 0:
            self._first_s = self._last_s = stamp_s if math.isfinite(stamp_s) else 0.0
        else:
            missing = stamp_ms == 0.0 or not math.isfinite(stamp_s)
            now_s = self._last_s + self.nominal_step_s if missing else max(self._last_s, stamp_s)
            self._longest_step_s = max(self._longest_step_s, now_s - self._last_s)
            self._last_s = now_s
        self.count += 1
        return self._last_s - self._first_s

    @property
    def ends_s(self) -> float:
        """When the last frame ends, from the stream's own start."""
        return self._last_s + self.nominal_step_s

    def has_hole(self) -> bool:
        """Whether frames are missing before the first or between two, judged by the average step."""
        average_s = (self._last_s - self._first_s) / max(self.count - 1, 1)
        step_s = average_s or self.nominal_step_s
        return self._longest_step_s > 1.5 * step_s or self._first_s > 1.5 * step_s
