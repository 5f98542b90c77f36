"""The bundle: one file that holds everything a device needs, verified before anything in it is parsed."""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepfake_edge.errors import BundleError, InvalidInput
from deepfake_edge.npy import read_npy, write_npy
from deepfake_edge.onnx_ports import output_names
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.sealed import pack, seal, unpack, unseal, write_atomically
from deepfake_edge.spec import ModelSpec

FORMAT = 1
MAX_BYTES = 2 * 1024**3
FRAME_OUTPUTS = "frame_outputs"
MANIFEST, GOLDEN = "manifest.json", "golden.npz"
PRECISIONS = ("fp32", "fp16", "int8")
_MAX_MANIFEST_BYTES = 1024**2
_MAX_NAME = 200
_GOLDEN_ARRAYS = {"crops": ("uint8", 4), "windows": ("int64", 2), "features": ("float32", 2), "outputs": ("float32", 2)}


@dataclass(frozen=True, slots=True)
class Golden:
    """A few real face crops and what Keras makes of them, to be replayed on a device.

    Attributes:
        crops: uint8 (N, S, S, 3), channels in the spec's order, before (pixel - mean) * scale.
        windows: int64 (W, frames), which crops make up each window ((N, 1) for a per-frame model).
        features: float32 (N, F), Keras's backbone output for each crop; (N, 0) for a fused clip network, which has no
            backbone to compare.
        outputs: float32 (W, C), Keras's final output for each window.
    """

    crops: NDArray[np.uint8]
    windows: NDArray[np.int64]
    features: NDArray[np.float32]
    outputs: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Variant:
    """The networks at one precision, at least one of the two, and the proof that they agree with Keras.

    Attributes:
        backbone: ONNX; float32 `crops` (N, 3, S, S) -> `features` (N, F), or `outputs` (N, C) without a head. None for
            a fused clip network: the head then takes the normalised crops themselves, F = 3 * S * S.
        head: ONNX; float32 `window` (B, frames, F) -> `outputs` (B, C) and, where the model scores each frame too,
            `frame_outputs` (B, frames, C); None for a per-frame model.
        parity: figures of the comparison with Keras, as plain JSON types.
    """

    backbone: bytes | None
    head: bytes | None
    parity: Mapping[str, Any]

    @property
    def scores_frames(self) -> bool:
        """Whether each frame of a window gets a score of its own, too."""
        return self.head is not None and FRAME_OUTPUTS in output_names(self.head, "head")


@dataclass(frozen=True, slots=True)
class Bundle:
    """What a bundle file holds.

    Attributes:
        name: the model's name.
        spec: what the model expects.
        variants: by precision (`fp32`, `fp16`, `int8`).
        golden: crops and outputs to replay.
        provenance: where it came from: the source file's sha256, tool versions.
        sha256: digest of the whole file; empty until it has been written or read.
    """

    name: str
    spec: ModelSpec
    variants: Mapping[str, Variant]
    golden: Golden
    provenance: Mapping[str, str]
    sha256: str = field(default="", compare=False)


def write_bundle(bundle: Bundle, path: str | os.PathLike[str]) -> str:
    """Write a bundle atomically: the old file or the new one, never a mix.

    Returns:
        the file's sha256.
    Raises:
        InvalidInput: its name or a variant's is not one that can be read back, or a variant has no network.
        BundleError: a graph in it would be refused on reading, or the file cannot be written; an old file is left
            as it was.
    """
    data = seal(_members_of(bundle))
    try:
        write_atomically(data, path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror or error}") from error
    return hashlib.sha256(data).hexdigest()


def check_name(name: str) -> None:
    """Refuse a model's name that could not be read back. Raises InvalidInput."""
    if not _is_name(name):
        raise InvalidInput(f"name: wanted 1 to {_MAX_NAME} printable characters, got {name!r}")


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle; everything in it is verified before it is parsed.

    Raises:
        BundleError: the file is absent, damaged, not a bundle, or of a format that this version does not read.
    """
    data = read_at_most(path, MAX_BYTES, "a bundle")
    return _parse(unseal(data, str(path)), str(path), hashlib.sha256(data).hexdigest())


def read_at_most(path: str | os.PathLike[str], limit: int, what: str) -> bytes:
    """A file's content.

    Args:
        path: a regular file, or a link to one.
        limit: the most bytes it may have.
        what: what it is, for messages.
    Raises:
        BundleError: it is absent, no regular file, too large, or cannot be read.
    """
    source = Path(path)
    try:
        if source.exists() and not source.is_file():
            raise BundleError(f"{source}: is not a file")
        with source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BundleError(f"{source}: {size} bytes is more than {what} may have ({limit})")
            return file.read(size)
    except (OSError, ValueError) as error:
        raise BundleError(f"{source}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _members_of(bundle: Bundle) -> dict[str, bytes]:
    unknown = sorted(set(bundle.variants) - set(PRECISIONS))
    if unknown or not bundle.variants:
        raise InvalidInput(
            f"variants: wanted at least one of {', '.join(PRECISIONS)}, got {', '.join(unknown) or 'none'}"
        )
    check_name(bundle.name)
    members: dict[str, bytes] = {}
    for precision in PRECISIONS:
        if precision in bundle.variants:
            members |= _graphs(precision, bundle.variants[precision])
    for name, content in members.items():
        check_onnx(content, name)
    _check_parts(bundle.variants, bundle.golden)
    members[GOLDEN] = _pack_golden(bundle.golden)
    manifest = {
        "format": FORMAT,
        "name": bundle.name,
        "spec": bundle.spec.to_json(),
        "variants": {name: {"parity": dict(item.parity)} for name, item in bundle.variants.items()},
        "provenance": dict(bundle.provenance),
        "members": {name: _fingerprint(content) for name, content in members.items()},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return {MANIFEST: text.encode("ascii"), **members}


def _graphs(precision: str, variant: Variant) -> dict[str, bytes]:
    parts = {"backbone": variant.backbone, "head": variant.head}
    return {f"{precision}/{part}.onnx": graph for part, graph in parts.items() if graph is not None}


def _check_parts(variants: Mapping[str, Variant], golden: Golden) -> None:
    """A variant has a network; fused are all of them or none, and the golden features with them."""
    for precision, variant in variants.items():
        if variant.backbone is None and variant.head is None:
            raise InvalidInput(f"{precision}: wanted a backbone, a head or both, got neither")
        if (variant.backbone is None) != (golden.features.shape[1] == 0):
            network = "a fused clip network" if variant.backbone is None else "a backbone"
            raise InvalidInput(f"{precision}: {network} does not go with golden features {golden.features.shape}")


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _parse(members: dict[str, bytes], name: str, sha256: str) -> Bundle:
    manifest = _manifest(members, name)
    _check_members(manifest, members, name)
    for member, content in members.items():
        if member.endswith(".onnx"):
            check_onnx(content, f"{name}: {member}")
    try:
        spec = ModelSpec.from_json(manifest["spec"])
        bundle = Bundle(
            name=manifest["name"],
            spec=spec,
            variants={key: _variant(key, manifest["variants"][key], members) for key in _precisions(manifest)},
            golden=_unpack_golden(members[GOLDEN], spec),
            provenance={str(key): str(value) for key, value in manifest["provenance"].items()},
            sha256=sha256,
        )
        _check_parts(bundle.variants, bundle.golden)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise BundleError(f"{name}: the manifest does not describe a bundle ({error})") from error
    graphs = {graph for key, variant in bundle.variants.items() for graph in _graphs(key, variant)}
    if unexpected := sorted(set(members) - graphs - {GOLDEN}):
        raise BundleError(f"{name}: unexpected members {unexpected}")
    if not _is_name(bundle.name):
        raise BundleError(f"{name}: the model's name is not printable text")
    return bundle


def _manifest(members: dict[str, bytes], name: str) -> Mapping[str, Any]:
    if next(iter(members), None) != MANIFEST:
        raise BundleError(f"{name}: does not begin with {MANIFEST}")
    text = members.pop(MANIFEST)
    if len(text) > _MAX_MANIFEST_BYTES:
        raise BundleError(f"{name}: the manifest is larger than {_MAX_MANIFEST_BYTES} bytes")
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{name}: the manifest is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise BundleError(f"{name}: format {found!r}, this version reads format {FORMAT}; convert the model again")
    return manifest


def _check_members(manifest: Mapping[str, Any], members: Mapping[str, bytes], name: str) -> None:
    promised = manifest.get("members")
    if not isinstance(promised, dict):
        raise BundleError(f"{name}: the manifest lists no members")
    if set(promised) != set(members):
        missing, extra = sorted(set(promised) - set(members)), sorted(set(members) - set(promised))
        raise BundleError(f"{name}: missing members {missing}, unexpected members {extra}")
    for member, content in members.items():
        if promised[member] != _fingerprint(content):
            raise BundleError(f"{name}: {member} does not match the manifest")


def _precisions(manifest: Mapping[str, Any]) -> list[str]:
    found = manifest["variants"]
    if not found or not set(found) <= set(PRECISIONS):
        raise ValueError(f"variants: wanted some of {', '.join(PRECISIONS)}, found {sorted(found)}")
    return [precision for precision in PRECISIONS if precision in found]


def _variant(precision: str, entry: Mapping[str, Any], members: Mapping[str, bytes]) -> Variant:
    return Variant(
        backbone=members.get(f"{precision}/backbone.onnx"),
        head=members.get(f"{precision}/head.onnx"),
        parity=dict(entry["parity"]),
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()


def _pack_golden(golden: Golden) -> bytes:
    return pack({f"{name}.npy": write_npy(getattr(golden, name)) for name in _GOLDEN_ARRAYS})


def _unpack_golden(data: bytes, spec: ModelSpec) -> Golden:
    members = unpack(data, GOLDEN)
    golden = Golden(**{name: _array(members[f"{name}.npy"], name) for name in _GOLDEN_ARRAYS})
    crops, windows, side = len(golden.crops), len(golden.windows), spec.crop.size_px
    shapes = (golden.crops.shape, golden.windows.shape, golden.features.shape[:1], golden.outputs.shape)
    if shapes != ((crops, side, side, 3), (windows, spec.clip.frames), (crops,), (windows, len(spec.classes))):
        raise ValueError(f"golden arrays of shapes {shapes} do not fit the spec")
    if not np.isfinite(golden.features).all() or not np.isfinite(golden.outputs).all():
        raise ValueError("golden values are not finite")
    if golden.windows.min() < 0 or golden.windows.max() >= crops:
        raise ValueError("golden windows name crops that are not there")
    return golden


def _array(content: bytes, name: str) -> NDArray[Any]:
    array = read_npy(content, f"golden {name}")
    wanted, dimensions = _GOLDEN_ARRAYS[name]
    lowest = (1, 0) if name == "features" else (1,) * dimensions
    if array.dtype != np.dtype(wanted) or array.ndim != dimensions or any(map(operator.lt, array.shape, lowest)):
        raise ValueError(f"golden {name}: wanted {wanted} with {dimensions} axes, got {array.dtype} {array.shape}")
    return array
