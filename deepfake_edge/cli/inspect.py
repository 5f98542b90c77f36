"""`deepfake-edge inspect model.dfe`: what it is, what it expects, which output is fake, parity, size; of an ensemble,
all of that for each model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deepfake_edge.bundle import Bundle, Variant, read_bundle
from deepfake_edge.cli.options import MODEL_HELP
from deepfake_edge.recipe import recipe_of
from deepfake_edge.spec import ModelSpec
from deepfake_edge.tables import printable, table

_NAMED_LAYERS = 12
_PRICE = ("layers", "loss_alone", "multiply_adds")


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("inspect", help="what a bundle is, expects and was proven to do")
    parser.add_argument("bundle", type=Path, help=MODEL_HELP)
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what a bundle holds, or each bundle of an ensemble; nothing in it is run."""
    recipe = recipe_of(arguments.bundle)
    bundles = [(entry, read_bundle(entry.bundle)) for entry in recipe.entries]
    threshold = recipe.decided_threshold([bundle.spec for _, bundle in bundles])
    (first, alone), *others = bundles
    if not others and threshold == alone.spec.threshold:
        print(json.dumps(_json(alone, first.bundle), indent=1) if arguments.json else _text(alone, first.bundle))
    elif arguments.json:
        members = [{"weight": entry.weight, **_json(bundle, entry.bundle)} for entry, bundle in bundles]
        print(json.dumps({"threshold": threshold, "members": members}, indent=1))
    else:
        print(f"an ensemble: the score is the weighted mean of {len(bundles)}, at or above {threshold:g} it is fake")
        for entry, bundle in bundles:
            print(f"\n--- weight {entry.weight:.3g}: {printable(str(entry.bundle))}\n{_text(bundle, entry.bundle)}")
    return 0


def spec_rows(spec: ModelSpec) -> list[tuple[str, str]]:
    """What a model expects, a row each, for people."""
    crop, clip = spec.crop, spec.clip
    low, high = crop.value_range
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
        ("pixel values", f"(pixel - {_triple(crop.mean)}) * {_triple(crop.scale)}: {low:.4g}..{high:.4g}"),
        ("window", f"{clip.frames} crops, {sampling}, a new one every {clip.stride}"),
    ]


def _text(bundle: Bundle, path: Path) -> str:
    lines = [
        table([("name", bundle.name), ("sha256", bundle.sha256), ("size", f"{path.stat().st_size / 1e6:.1f} MB")]),
        "",
        table(spec_rows(bundle.spec)),
    ]
    for name, variant in bundle.variants.items():
        lines.append(f"\n{name}: {_networks(variant)}")
        lines.append(table([(f"  {key}", _plain(value)) for key, value in sorted(variant.parity.items())]))
        lines += _layers(variant.layers)
    lines += ["\nmade with", table([(f"  {key}", value) for key, value in sorted(bundle.provenance.items())])]
    return "\n".join(lines)


def _networks(variant: Variant) -> str:
    head = None if variant.head is None else f"{len(variant.head) / 1e6:.2f} MB"
    if variant.backbone is None:
        text = f"one fused clip network, {head}: no part runs once a crop, every window runs the whole network"
    else:
        text = f"backbone {len(variant.backbone) / 1e6:.1f} MB, {f'head {head}' if head else 'no head'}"
    return f"{text}; scores each frame of a window too" if variant.scores_frames else text


def _layers(layers: Mapping[str, Any]) -> Iterator[str]:
    """Which layers run in what, and why; `--json` names them all. A bundle may say anything here."""
    for kind, value in layers.items():
        if kind == "put_back" and isinstance(value, list):
            rows = [tuple(_listed(group.get(key, "-")) for key in _PRICE) for group in value if isinstance(group, dict)]
            header = ("  put back to float32, in this order", "loss alone", "share of work")
            yield table([(f"  {names}", *prices) for names, *prices in rows], header)
        elif isinstance(value, dict):
            yield table([(f"  {kind}: {key}", _plain(item)) for key, item in value.items()])
        elif isinstance(value, list) and len(value) > _NAMED_LAYERS:
            yield printable(f"  {kind}: {len(value)} layers, {_plain(value[0])} ... {_plain(value[-1])}")
        else:
            yield printable(f"  {kind}: {_listed(value)}")


def _listed(value: object) -> str:
    return ", ".join(map(_plain, value)) or "none" if isinstance(value, list) else _plain(value)


def _json(bundle: Bundle, path: Path) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "sha256": bundle.sha256,
        "size_bytes": path.stat().st_size,
        "spec": bundle.spec.to_json(),
        "fake_output": bundle.spec.fake_output,
        "variants": {
            name: {
                "parity": dict(item.parity),
                "layers": dict(item.layers),
                "fused": item.backbone is None,
                "frame_scores": item.scores_frames,
            }
            for name, item in bundle.variants.items()
        },
        "provenance": dict(bundle.provenance),
    }


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _triple(values: tuple[float, float, float]) -> str:
    same = values[0] == values[1] == values[2]
    return f"{values[0]:.6g}" if same else "(" + ", ".join(f"{value:.6g}" for value in values) + ")"
