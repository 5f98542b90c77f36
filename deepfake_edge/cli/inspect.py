"""`deepfake-edge inspect model.dfe`: what it is, what it expects, which output is fake, parity, size."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import Bundle, read_bundle
from deepfake_edge.cli.report import table
from deepfake_edge.spec import ModelSpec


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("inspect", help="what a bundle is, expects and was proven to do")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what a bundle holds; nothing in it is run."""
    bundle = read_bundle(arguments.bundle)
    size = arguments.bundle.stat().st_size
    if arguments.json:
        print(json.dumps(_json(bundle, size), indent=1))
        return 0
    print(table([("name", bundle.name), ("sha256", bundle.sha256), ("size", f"{size / 1e6:.1f} MB")]))
    print()
    print(table(spec_rows(bundle.spec)))
    for precision, variant in bundle.variants.items():
        print(f"\n{precision}: backbone {len(variant.backbone) / 1e6:.1f} MB", end="")
        print(f", head {len(variant.head) / 1e6:.2f} MB" if variant.head is not None else ", no head")
        print(table([(f"  {key}", _plain(value)) for key, value in sorted(variant.parity.items())]))
    print("\nmade with")
    print(table([(f"  {key}", value) for key, value in sorted(bundle.provenance.items())]))
    return 0


def spec_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    """What a model expects, a row each, for people."""
    crop, clip = spec.crop, spec.clip
    sampling = f"{clip.sample_fps:g} a second" if clip.sample_fps is not None else "every frame"
    return [
        ("family", spec.family),
        ("fake is", spec.fake_output),
        ("threshold", f"{spec.threshold:g}: a fake score at or above it is labelled fake"),
        (
            "calibrated",
            f"temperature {spec.temperature:g}" if spec.temperature != 1.0 else "no: a score, no probability",
        ),
        ("crop", f"{crop.size_px}x{crop.size_px} {crop.channel_order}, fit {crop.fit}, margin {crop.margin:g}"),
        ("resize", crop.resize),
        ("pixel values", f"(pixel - {_triple(crop.mean)}) * {_triple(crop.scale)}"),
        ("window", f"{clip.frames} crops, {sampling}, a new one every {clip.stride}"),
    ]


def _json(bundle: Bundle, size: int) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "size_bytes": size,
        "spec": bundle.spec.to_json(),
        "fake_output": bundle.spec.fake_output,
        "variants": {name: {"parity": dict(item.parity)} for name, item in bundle.variants.items()},
        "provenance": dict(bundle.provenance),
    }


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _triple(values: tuple[float, float, float]) -> str:
    same = values[0] == values[1] == values[2]
    return f"{values[0]:.6g}" if same else "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
