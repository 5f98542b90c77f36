"""The bundle: one file that holds everything a device needs, verified before anything in it is parsed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepfake_edge.errors import BundleError, InvalidInput
from deepfake_edge.golden_arrays import Golden, Outputs, check_outputs, read_golden, read_outputs, write_golden
from deepfake_edge.onnx_ports import output_names
from deepfake_edge.onnx_wire import check_onnx
from deepfake_edge.sealed import seal, unseal, write_atomically
from deepfake_edge.spec import ModelSpec

FORMAT = 2
MAX_BYTES = 2 * 1024**3
FRAME_OUTPUTS = "frame_outputs"
MANIFEST, GOLDEN = "manifest.json", "golden.npz"
# What a user asks for; bf16 is the fp32 variant computed in bfloat16, where a runtime can.
PRECISIONS = ("fp32", "fp16", "int8", "bf16")
# What a bundle holds: int8 is symmetric, as TensorRT wants it; int8-unsigned has unsigned activations, which ONNX
# Runtime's CPU kernels are made for.
VARIANTS = ("fp32", "fp16", "int8", "int8-unsigned")
_MAX_MANIFEST_BYTES = 1024**2
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Variant:
    """The networks at one precision, at least one of the two, and the proof that they agree with Keras.

    Attributes:
        backbone: ONNX; float32 `crops` (N, 3, S, S) -> `features` (N, F), or `outputs` (N, C) without a head. None for
            a fused clip network: the head then takes the normalised crops themselves, F = 3 * S * S.
        head: ONNX; float32 `window` (B, frames, F) -> `outputs` (B, C) and, where the model scores each frame too,
            `frame_outputs` (B, frames, C); None for a per-frame model.
        parity: figures of the comparison with Keras, as plain JSON types.
        golden: what the networks gave for the golden crops when they were converted; None until they have been run,
            and never in a file.
        layers: which layers run in which precision and why, as plain JSON types; empty where all run in float32.
    """

    backbone: bytes | None
    head: bytes | None
    parity: Mapping[str, Any]
    golden: Outputs | None = field(default=None, compare=False)
    layers: Mapping[str, Any] = field(default_factory=dict)

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
        variants: by name, see `VARIANTS`.
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

    @property
    def first_precision(self) -> str:
        """What is taken where none is asked for."""
        return next(iter(self.variants)).removesuffix("-unsigned")

    def has(self, precision: str) -> bool:
        """Whether its variants give a precision; bf16 is computed from fp32."""
        return ("fp32" if precision == "bf16" else precision) in self.variants

    def variant_for(self, precision: str | None, runtime: str) -> str:
        """Which variant gives a precision on a runtime.

        Args:
            precision: one of `PRECISIONS`; None takes the first that the bundle has.
            runtime: `onnxruntime`, `openvino`, ...
        Raises:
            InvalidInput: there is no such precision, or this bundle has no such variant.
        """
        precision = precision or self.first_precision
        wanted = "fp32" if precision == "bf16" else precision
        if wanted == "int8" and runtime == "onnxruntime" and "int8-unsigned" in self.variants:
            return "int8-unsigned"
        if precision not in PRECISIONS or wanted not in self.variants:
            raise InvalidInput(self._lacking(precision, wanted))
        return wanted

    def _lacking(self, precision: str, wanted: str) -> str:
        """Why a precision cannot be had, and how it can."""
        found = [name for name in self.variants if name in PRECISIONS]
        text = f"precision: {self.name}: this bundle has {', '.join(found)}, got {precision!r}"
        if wanted not in VARIANTS:
            return text
        made = f"deepfake-edge convert MODEL --precision {','.join((*found, wanted))}"
        of = ", which is computed from fp32" if precision == "bf16" else ""
        return f"{text}{of}; to have it: {made}{'' if wanted == 'fp32' else ' --calibration PATH'}"


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
    unknown = sorted(set(bundle.variants) - set(VARIANTS))
    if unknown or not bundle.variants:
        raise InvalidInput(
            f"variants: wanted at least one of {', '.join(VARIANTS)}, got {', '.join(unknown) or 'none'}"
        )
    check_name(bundle.name)
    _check_parts(bundle.variants, bundle.golden)
    members: dict[str, bytes] = {}
    for name in VARIANTS:
        if name in bundle.variants:
            members |= _members_of_variant(name, bundle.variants[name])
    for name, content in members.items():
        if name.endswith(".onnx"):
            check_onnx(content, name)
    members[GOLDEN] = write_golden(bundle.golden)
    manifest = {
        "format": FORMAT,
        "name": bundle.name,
        "spec": bundle.spec.to_json(),
        "variants": {
            name: {"parity": dict(item.parity), "layers": dict(item.layers)} for name, item in bundle.variants.items()
        },
        "provenance": dict(bundle.provenance),
        "members": {name: _fingerprint(content) for name, content in members.items()},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=True)
    return {MANIFEST: text.encode("ascii"), **members}


def _members_of_variant(name: str, variant: Variant) -> dict[str, bytes]:
    parts = {"backbone.onnx": variant.backbone, "head.onnx": variant.head}
    parts[GOLDEN] = None if variant.golden is None else write_golden(variant.golden)
    return {f"{name}/{part}": content for part, content in parts.items() if content is not None}


def _check_parts(variants: Mapping[str, Variant], golden: Golden) -> None:
    """A variant has a network and its golden outputs; fused are all of them or none, and the golden features."""
    for name, variant in variants.items():
        if variant.backbone is None and variant.head is None:
            raise InvalidInput(f"{name}: wanted a backbone, a head or both, got neither")
        if (variant.backbone is None) != (golden.features.shape[1] == 0):
            network = "a fused clip network" if variant.backbone is None else "a backbone"
            raise InvalidInput(f"{name}: {network} does not go with golden features {golden.features.shape}")
        if variant.golden is None:
            raise InvalidInput(f"{name}: it has not been run on the golden crops")
        try:
            check_outputs(variant.golden, f"{name}/{GOLDEN}", golden)
        except ValueError as error:
            raise InvalidInput(str(error)) from error


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
        golden = read_golden(members[GOLDEN], GOLDEN, spec)
        bundle = Bundle(
            name=manifest["name"],
            spec=spec,
            variants={key: _variant(key, manifest["variants"][key], members, golden) for key in _variants(manifest)},
            golden=golden,
            provenance={str(key): str(value) for key, value in manifest["provenance"].items()},
            sha256=sha256,
        )
        _check_parts(bundle.variants, bundle.golden)
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise BundleError(f"{name}: the manifest does not describe a bundle ({error})") from error
    known = {member for key, variant in bundle.variants.items() for member in _members_of_variant(key, variant)}
    if unexpected := sorted(set(members) - known - {GOLDEN}):
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


def _variants(manifest: Mapping[str, Any]) -> list[str]:
    found = manifest["variants"]
    if not found or not set(found) <= set(VARIANTS):
        raise ValueError(f"variants: wanted some of {', '.join(VARIANTS)}, found {sorted(found)}")
    return [name for name in VARIANTS if name in found]


def _variant(name: str, entry: Mapping[str, Any], members: Mapping[str, bytes], golden: Golden) -> Variant:
    return Variant(
        backbone=members.get(f"{name}/backbone.onnx"),
        head=members.get(f"{name}/head.onnx"),
        parity=dict(entry["parity"]),
        golden=read_outputs(members[f"{name}/{GOLDEN}"], f"{name}/{GOLDEN}", golden),
        layers=dict(entry["layers"]),
    )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_NAME and value.isprintable()
