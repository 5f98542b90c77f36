"""The command line: `deepfake-edge COMMAND ...`. One file a command; results on stdout, all else on stderr.

Exit codes: 0 done, whatever the verdicts; 1 a typed error, no traceback; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from deepfake_edge import __version__
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.optional import require
from deepfake_edge.tables import printable

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    Args:
        arguments: without the program's name; None takes the process's.
    """
    try:
        _end_on_sigterm()
        _print_any_name()
        _silence_opencv()
        parsed = _parser().parse_args(arguments)
        logging.basicConfig(level=logging.WARNING if parsed.quiet else logging.INFO, format="%(message)s")
        return int(parsed.run(parsed))
    except DeepfakeEdgeError as error:
        return _failed(error)
    except KeyboardInterrupt:
        print("deepfake-edge: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout went away (`| head`); what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A disk that fills up while results are written, for one.
        return _failed(error)


def _failed(error: Exception) -> int:
    print(printable(f"deepfake-edge: {type(error).__name__}: {error}"), file=sys.stderr)
    return 1


def _print_any_name() -> None:
    """A name that the terminal's encoding lacks is written with escapes rather than not at all."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_on_sigterm() -> None:
    """End as Ctrl-C does, so that whatever is half-written is removed."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _silence_opencv() -> None:
    """OpenCV and FFmpeg write about damaged files to stderr; what matters of it comes as a typed error."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        logging_of_opencv = require("cv2").utils.logging
        logging_of_opencv.setLogLevel(logging_of_opencv.LOG_LEVEL_SILENT)


def _parser() -> argparse.ArgumentParser:
    from deepfake_edge.cli import (
        benchmark,
        build,
        card,
        convert,
        demo,
        detect,
        doctor,
        evaluate,
        inspect,
        prepare,
        train,
        verify,
        watch,
    )

    parser = argparse.ArgumentParser(
        prog="deepfake-edge",
        description="Deepfake detection in video, on the edge: your Keras model, many times faster.",
    )
    parser.add_argument("--version", action="version", version=f"deepfake-edge {__version__}")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing on stderr but errors")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    workshop = (prepare, train, evaluate, card, convert)
    for command in (*workshop, inspect, build, verify, benchmark, detect, watch, demo, doctor):
        command.add_parser(commands)
    return parser
