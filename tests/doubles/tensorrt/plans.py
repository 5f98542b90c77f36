"""The double's plan file: a header that names version and device, the graph, and how it is to be computed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

_MAGIC = b"tensorrt-double-plan\n"

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Plan:
    """What a build leaves behind."""

    version: str
    compute_capability: tuple[int, int]
    device: str
    any_device: bool
    rounded: bool
    shared_profiles: bool
    profiles: list[dict[str, Shapes]]
    onnx: bytes

    def write(self) -> bytes:
        facts = {key: value for key, value in asdict(self).items() if key != "onnx"}
        head = json.dumps(facts).encode()
        body = len(head).to_bytes(8, "little") + head + self.onnx
        return _MAGIC + hashlib.sha256(body).digest() + body


def read_plan(data: bytes) -> Plan:
    """Raises ValueError with what the library would say."""
    if not data.startswith(_MAGIC):
        raise ValueError("Serialization assertion magicTagRead == kMAGIC_TAG failed.Magic tag does not match")
    digest, body = data[len(_MAGIC) : len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if hashlib.sha256(body).digest() != digest:
        raise ValueError("Serialization assertion sizeRead == static_cast<uint64_t>(mEnd - mCurrent) failed.")
    length = int.from_bytes(body[:8], "little")
    facts: dict[str, Any] = json.loads(body[8 : 8 + length])
    facts["compute_capability"] = tuple(facts["compute_capability"])
    facts["profiles"] = [
        {name: tuple(tuple(shape) for shape in shapes) for name, shapes in item.items()} for item in facts["profiles"]
    ]
    return Plan(onnx=body[8 + length :], **facts)
