"""Tools to forge hostile files: a zip writer that can lie, and places in a configuration where evil can hide."""

from __future__ import annotations

import copy
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MUTANTS = 20
CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"


@dataclass(frozen=True)
class Target:
    """What a hostile file would like to reach: a file, a folder to write to, and a port on loopback."""

    file: Path
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/model"

    @property
    def code(self) -> str:
        """Python that leaves a trace if it ever runs."""
        return (
            f"import os, socket; open({str(self.folder / 'written')!r}, 'w').close(); "
            f"os.environ['DEEPFAKE_EDGE_CANARY'] = 'dead'; socket.create_connection(('127.0.0.1', {self.port}))"
        )


@dataclass(frozen=True)
class Base:
    """Harmless files, each of which is taken as it is: a whole model, its parts, and an ONNX graph."""

    archive: Path
    legacy: Path
    weights: Path
    onnx: bytes

    def members(self) -> dict[str, bytes]:
        with zipfile.ZipFile(self.archive) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def config(self) -> dict[str, Any]:
        return json.loads(self.members()[CONFIG])


@dataclass
class Entry:
    """One member of a forged zip; `local` and `central` replace single fields of its two headers."""

    name: str | bytes
    content: bytes
    method: int = 0
    stored: bytes | None = None
    local: Mapping[str, Any] = field(default_factory=dict)
    central: Mapping[str, Any] = field(default_factory=dict)


_LOCAL = "<4s5H3I2H"
_CENTRAL = "<4s6H3I5H2I"


def forged_zip(
    entries: Sequence[Entry], *, before: bytes = b"", after: bytes = b"", gap: bytes = b"", **end: int
) -> bytes:
    """A zip of these entries, in which anything can be made to lie."""
    body, directory = before, b""
    for entry in entries:
        name = entry.name.encode() if isinstance(entry.name, str) else entry.name
        stored = entry.content if entry.stored is None else entry.stored
        values = {
            "version": 20, "flags": 0, "method": entry.method, "time": 0, "date": 33, "crc": zlib.crc32(entry.content),
            "stored": len(stored), "size": len(entry.content), "name": name, "extra": b"", "mode": 0o600 << 16,
            "start": len(body), "signature": b"PK\x03\x04", "disk": 0, "comment": b"",
        }  # fmt: skip
        local, central = {**values, **entry.local}, {**values, **entry.central}
        body += struct.pack(
            _LOCAL, local["signature"],
            *(local[key] for key in ("version", "flags", "method", "time", "date", "crc", "stored", "size")),
            len(local["name"]), len(local["extra"]),
        )  # fmt: skip
        body += local["name"] + local["extra"] + stored + gap
        directory += struct.pack(
            _CENTRAL, b"PK\x01\x02", 20,
            *(central[key] for key in ("version", "flags", "method", "time", "date", "crc", "stored", "size")),
            len(central["name"]), len(central["extra"]), len(central["comment"]), central["disk"], 0,
            central["mode"], central["start"],
        )  # fmt: skip
        directory += central["name"] + central["extra"] + central["comment"]
    values = {"count": len(entries), "directory_size": len(directory), "directory": len(body), **end}
    count = values["count"]
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, values["directory_size"], values["directory"], 0)
    return body + directory + tail + after


def entries_of(base: Base) -> list[Entry]:
    return [Entry(name, content) for name, content in base.members().items()]


def with_config(base: Base, config: Any, path: Path) -> Path:
    """The base's archive with another configuration."""
    members = base.members() | {CONFIG: config if isinstance(config, bytes) else json.dumps(config).encode()}
    path.write_bytes(forged_zip([Entry(name, content) for name, content in members.items()]))
    return path


def with_weights(base: Base, weights: bytes, path: Path) -> Path:
    """The base's archive with other weights."""
    members = base.members() | {WEIGHTS: weights}
    path.write_bytes(forged_zip([Entry(name, content) for name, content in members.items()]))
    return path


def bomb(mebibytes: int) -> tuple[bytes, int]:
    """Deflated zeros, and the checksum of what they inflate to; made without inflating them."""
    block = bytes(1024**2)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(mebibytes):
        crc = zlib.crc32(block, crc)
    return first + again * (mebibytes - 1) + packer.flush(zlib.Z_FINISH), crc


def _layers(config: dict[str, Any]) -> list[dict[str, Any]]:
    return config["config"]["layers"]


def _as_layer(config: dict[str, Any], evil: Any) -> None:
    layers = _layers(config)
    layers.append({**evil, "name": "evil", "inbound_nodes": copy.deepcopy(layers[-1].get("inbound_nodes", []))})


def _wrapped(config: dict[str, Any], evil: Any) -> None:
    _layers(config)[1]["config"]["layer"] = evil


def _inner(config: dict[str, Any], evil: Any) -> None:
    _layers(config)[1]["config"]["layer"]["config"]["layers"].append(evil)


def _setting(key: str) -> Callable[[dict[str, Any], Any], None]:
    def hide(config: dict[str, Any], evil: Any) -> None:
        _layers(config)[-1]["config"][key] = evil

    return hide


def _keyword(config: dict[str, Any], evil: Any) -> None:
    node = _layers(config)[-1]["inbound_nodes"][0]
    if isinstance(node, dict):
        node["kwargs"]["training"] = evil
    else:
        node[0].append({"training": evil})


def _build(config: dict[str, Any], evil: Any) -> None:
    _layers(config)[-1]["build_config"] = {"input_shape": evil}


def _deep(config: dict[str, Any], evil: Any) -> None:
    _layers(config)[-1]["config"]["extra"] = [[{"deep": [evil]}]]


def _nested(config: dict[str, Any], evil: Any) -> None:
    inner = copy.deepcopy(config)
    inner["config"]["name"] = "inner"
    _as_layer(inner, evil)
    _as_layer(config, inner)


PLACES: tuple[Callable[[dict[str, Any], Any], None], ...] = (
    _as_layer, _wrapped, _inner, _setting("activation"), _setting("kernel_initializer"), _setting("kernel_regularizer"),
    _setting("kernel_constraint"), _setting("dtype"), _keyword, _build, _deep, _nested,
)  # fmt: skip


def hidden(config: dict[str, Any], evil: Any, number: int) -> dict[str, Any]:
    """The configuration with something evil in one of its places; now and then the evil is the model itself."""
    config = copy.deepcopy(config)
    place = number % (len(PLACES) + 1)
    if place == len(PLACES):
        return evil
    PLACES[place](config, evil)
    return config
