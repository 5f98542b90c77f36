"""`deepfake-edge watch`: follow a camera or a stream until it ends or somebody stops it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import IO, Any

from deepfake_edge.choices import open_live
from deepfake_edge.cli.options import add_detector_arguments, make_detector, model_files
from deepfake_edge.cli.report import verdict_json, window_json
from deepfake_edge.cli.targets import refuse_overwriting
from deepfake_edge.data import Moment, Verdict
from deepfake_edge.detector import Detector
from deepfake_edge.errors import SourceError
from deepfake_edge.protocols import Viewer
from deepfake_edge.sinks import window
from deepfake_edge.sinks.annotated_video import AnnotatedVideo
from deepfake_edge.sources.live import LiveSource
from deepfake_edge.trend import Trend, Trends
from deepfake_edge.urls import redact

_LINE_EVERY_S = 1.0
_ANNOTATED_FPS = 25.0
_ANSI = {"real": "32", "fake": "31", "insufficient_evidence": "90"}
_WORDS = {"real": "REAL", "fake": "FAKE", "insufficient_evidence": "undecided"}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "watch",
        help="follow a camera, a stream, or a file in real time",
        description="Follow a live source. The latest frame wins: what comes while a frame is computed is dropped, "
        "and counted. Ctrl-C ends it with the verdict so far.",
    )
    parser.add_argument(
        "source", metavar="SOURCE", help="a camera's index, rtsp://..., a GStreamer pipeline in quotes, or a file"
    )
    add_detector_arguments(parser)
    parser.add_argument("--seconds", type=_seconds, metavar="N", help="stop after N seconds (default: never)")
    parser.add_argument("--no-window", action="store_true", help="write lines even where there is a display")
    parser.add_argument("--annotate", metavar="FILE", help="also write what is seen to a video (.mp4, .webm, .avi)")
    parser.add_argument(
        "--json", metavar="FILE", help="write a JSON object a line for each score, and the verdict last; - is stdout"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Follow the source; returns 0 however it was stopped."""
    name = redact(arguments.source)
    refuse_overwriting([arguments.json, arguments.annotate], [arguments.source, *model_files(arguments.model)])
    with ExitStack() as stack:
        live = stack.enter_context(open_live(arguments.source))
        records = _open_records(arguments.json, stack)
        detector = stack.enter_context(make_detector(arguments))
        threshold = detector.threshold
        viewers: list[Viewer] = []
        if arguments.annotate:
            viewers.append(stack.enter_context(AnnotatedVideo(arguments.annotate, threshold, _ANNOTATED_FPS)))
        screen = None
        if not arguments.no_window and window.available():
            screen = window.Window(f"deepfake-edge: {name}", threshold)
            stack.callback(screen.close)
            viewers.append(screen)
        lines = _Lines(live, threshold, sys.stderr if records is sys.stdout else sys.stdout)
        stack.enter_context(_ends_on_signals(live))
        if arguments.seconds is not None:
            stack.enter_context(_ends_after(live, arguments.seconds))
        verdict = _follow(live, detector, viewers, screen, lines, records)
        if records is not None:
            _write(records, verdict_json(name, verdict, detector))
        if records is not sys.stdout:
            print(lines.last(verdict), flush=True)
    return 0


def _follow(
    live: LiveSource,
    detector: Detector,
    viewers: list[Viewer],
    screen: window.Window | None,
    lines: _Lines,
    records: IO[str] | None,
) -> Verdict:
    with detector.session() as session:
        for frame in live.frames():
            moment = session.observe(frame)
            lines.show(moment, quiet=screen is not None)
            for viewer in viewers:
                viewer.show(moment)
            for score in moment.scores if records is not None else ():
                _write(records, {"track": score.track_id, **window_json(score)})
            if screen is not None and screen.closed:
                live.stop()
        return session.verdict(complete=live.complete, incomplete_reason=live.incomplete_reason)


class _Lines:
    """What is seen, in words: a line a second, and whenever a label changes."""

    def __init__(self, live: LiveSource, threshold: float, stream: IO[str]) -> None:
        self._live = live
        self._trends = Trends(threshold)
        self._stream = stream
        self._colours = stream.isatty() and not os.environ.get("NO_COLOR")
        self._shown_s = -_LINE_EVERY_S
        self._frames = 0
        self._total = 0
        self._labels: dict[int, str] = {}
        self._delays_s: list[float] = []

    def show(self, moment: Moment, *, quiet: bool) -> None:
        """Count a frame, and write a line when it is time."""
        trends = self._trends.update(moment)
        labels: dict[int, str] = {track_id: trend.label for track_id, trend in trends.items()}
        self._frames += 1
        self._total += 1
        self._delays_s.append(self._live.delay_s)
        changed = any(self._labels.get(track_id, label) != label for track_id, label in labels.items())
        now_s = time.monotonic()
        elapsed_s = now_s - self._shown_s
        self._labels = labels
        if elapsed_s < _LINE_EVERY_S and not changed:
            return
        if not quiet:
            print(self._line(moment, trends, elapsed_s), file=self._stream, flush=True)
        self._shown_s, self._frames = now_s, 0
        self._delays_s.clear()

    def last(self, verdict: Verdict) -> str:
        """The line that stands at the end."""
        score = "" if verdict.fake_score is None else f" {verdict.fake_score:.3f}"
        reason = f" ({verdict.reason})" if verdict.reason else ""
        counts = f"{self._total} frames, {self._live.dropped} dropped, {self._live.reconnects} reconnects"
        return f"{self._painted(verdict.label, verdict.label)}{score}{reason}  {verdict.duration_s:.1f} s, {counts}"

    def _line(self, moment: Moment, trends: dict[int, Trend], elapsed_s: float) -> str:
        faces = "  ".join(self._face(track_id, trend) for track_id, trend in sorted(trends.items())) or "no face"
        rate = f"  {self._frames / elapsed_s:.1f} fps" if self._frames < self._total else ""
        delay_ms = max(self._delays_s) * 1000.0
        counts = f"dropped {self._live.dropped}  reconnects {self._live.reconnects}"
        return f"{moment.frame.time_s:8.1f} s  {faces}{rate}  delay {delay_ms:.0f} ms  {counts}"

    def _face(self, track_id: int, trend: Trend) -> str:
        score = "" if trend.mean is None else f" {trend.mean:.2f}"
        last = "" if trend.last is None else f" (now {trend.last:.2f})"
        return self._painted(f"#{track_id} {_WORDS[trend.label]}{score}{last}", trend.label)

    def _painted(self, text: str, label: str) -> str:
        return f"\x1b[{_ANSI[label]}m{text}\x1b[0m" if self._colours else text


@contextmanager
def _ends_on_signals(live: LiveSource) -> Iterator[None]:
    """The first SIGINT or SIGTERM ends the source; a second SIGINT interrupts whatever is going on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        live.stop()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ends_after(live: LiveSource, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, live.stop)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _open_records(name: str | None, stack: ExitStack) -> IO[str] | None:
    if name is None or name == "-":
        return None if name is None else sys.stdout
    try:
        return stack.enter_context(open(name, "w", encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{name}: cannot be written ({error.strerror})") from None


def _write(records: IO[str] | None, record: dict[str, Any]) -> None:
    print(json.dumps(record, ensure_ascii=False, allow_nan=False), file=records, flush=True)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds < threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"wanted a number of seconds above 0, got {text}")
    return seconds
