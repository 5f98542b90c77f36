"""What is kept beside an engine: what it was built of and for, and the digest that vouches for its plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deepfake_edge.engines.identity import EngineIdentity, identity_from
from deepfake_edge.engines.options import BatchProfile

FORMAT = 1
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What an engine is.

    Attributes:
        identity: what it depends on.
        part: `backbone` or `head`.
        bundle: the name of the bundle that it was built of.
        bundle_sha256: that bundle's digest.
        batch: the batch sizes that it takes.
        workspace_bytes: what TensorRT was given.
        plan_sha256: of the plan; nothing else is loaded.
        plan_bytes: its size.
        build_s: how long TensorRT built.
        gate: figures of the golden crops on this device, as plain JSON types.
        made_with: the version of deepfake-edge.
    """

    identity: EngineIdentity
    part: str
    bundle: str
    bundle_sha256: str
    batch: BatchProfile
    workspace_bytes: int
    plan_sha256: str
    plan_bytes: int
    build_s: float
    gate: Mapping[str, Any]
    made_with: str

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, allow_nan=False).encode("ascii")


_TEXTS = ("part", "bundle", "bundle_sha256", "plan_sha256", "made_with")
_NUMBERS = ("workspace_bytes", "plan_bytes", "build_s")


def read_sidecar(text: bytes) -> Sidecar:
    """Read what `Sidecar.to_bytes` wrote. Raises ValueError: it is something else."""
    try:
        table = json.loads(text)
        if table.pop("format") != FORMAT:
            raise ValueError("another format")
        batch = BatchProfile(*(table["batch"][name] for name in ("least", "best", "most")))
        read = {"identity": identity_from(table["identity"]), "batch": batch}
        sidecar = Sidecar(**{**table, **read})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a sidecar") from error
    numbers = [getattr(sidecar, name) for name in _NUMBERS]
    if not all(isinstance(getattr(sidecar, name), str) for name in _TEXTS) or not isinstance(sidecar.gate, dict):
        raise ValueError("not a sidecar")
    if not all(isinstance(value, int | float) and value >= 0 for value in numbers):
        raise ValueError("not a sidecar")
    return sidecar
