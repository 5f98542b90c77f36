"""Addresses of live sources: which are taken, and how they are written where people can read them."""

from __future__ import annotations

import re

from deepfake_edge.errors import SourceError

# Only what carries a stream from elsewhere. `file:`, `concat:`, `pipe:`, `subfile:` and the like would let an
# address that came from somebody else read this machine's own files.
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "rtp", "tcp", "srt")

_HIDDEN = "***"
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_ANY_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_ELEMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# The last part of a path on these is the key that lets one publish or watch.
_KEY_IN_PATH = ("rtmp", "rtmps")


def is_pipeline(source: str) -> bool:
    """Whether it reads as a GStreamer pipeline: elements joined by ` ! `."""
    return " ! " in source and not _ADDRESS.match(source.strip())


def is_url(source: str) -> bool:
    """Whether it begins as an address does; a scheme of one letter is a Windows drive."""
    return _ANY_SCHEME.match(source) is not None


def check_scheme(url: str) -> None:
    """Refuse an address that does not name a stream.

    Raises:
        SourceError: its scheme is none of SCHEMES.
    """
    scheme, colon, _ = url.partition("://")
    if not colon or scheme.lower() not in SCHEMES:
        raise SourceError(f"{redact(url)}: wanted an address that begins with one of {', '.join(SCHEMES)}, then ://")


def redact(source: str) -> str:
    """A source's name without what could let somebody in: for messages, logs and reports.

    User, password, query, fragment, and parts of the path that look like settings go; of a pipeline the
    elements' names stay. Where a character makes it unclear what is a password, more is hidden, never less.
    Names of files come back as they are, but for control characters, which could rewrite a terminal.
    """
    printable = "".join(letter if letter.isprintable() else "_" for letter in source.strip())
    if is_pipeline(printable):
        return _redact_pipeline(printable)
    address = _ADDRESS.fullmatch(printable)
    if address is None:
        head, at, tail = printable.rpartition("@")
        return f"{_HIDDEN}@{tail}" if at and ":" in head else printable
    return _redact_address(address["scheme"], address["rest"])


def _redact_address(scheme: str, rest: str) -> str:
    secret, at, rest = rest.rpartition("@")
    if at and re.search(r"[/?#\\]", secret):
        # An @ in the path or the query, or a password with a slash: nobody can tell which.
        return f"{scheme}://{_HIDDEN}"
    place, mark, _ = rest.partition("?") if "?" in rest else rest.partition("#")
    host, *parts = place.partition("#")[0].split("/")
    if parts and scheme.lower() in _KEY_IN_PATH:
        parts = [_HIDDEN]
    shown = "/".join([host, *(_HIDDEN if re.search(r"[=&;]", part) else part for part in parts)])
    return f"{scheme}://{_HIDDEN + '@' if at else ''}{shown}{mark + _HIDDEN if mark else ''}"


def _redact_pipeline(pipeline: str) -> str:
    unquoted = re.sub(r"\"[^\"]*\"|'[^']*'", _HIDDEN, pipeline)
    words = (element.split(maxsplit=1) for element in unquoted.split(" ! "))
    names = (parts[0] if parts and _ELEMENT.fullmatch(parts[0]) else _HIDDEN for parts in words)
    return " ! ".join(names)
