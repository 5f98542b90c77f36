"""What the model expects, value by value: from the user, the model, its family, or a harmless default.

How a crop is normalised and which output means fake cannot be read off a network, and are never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training.families import Family

_CROP = ("size_px", "margin", "fit", "resize", "channel_order", "mean", "scale")
_CLIP = ("frames", "sample_fps", "stride")
_MODEL = ("classes", "activation", "threshold", "temperature")
_MEASURED = ("size_px", "frames", "activation")
_DEFAULTS: Mapping[str, Any] = {"stride": 1, "threshold": 0.5, "temperature": 1.0}
_HINTS = {
    "margin": "1.0: the face's box as it is",
    "fit": "stretch or square",
    "resize": "linear, area, bilinear or bicubic",
    "channel_order": "rgb or bgr",
    "mean": "127.5 or three numbers, in 0..255; value = (pixel - mean) * scale",
    "scale": "1/127.5 or three numbers",
    "sample_fps": "frames a second that clips were sampled at",
    "classes": "what each output means: --classes real,fake, or fake,real, or for a single output fake or real",
    "activation": "softmax, sigmoid, or logits for a model whose outputs are none yet",
}

Valued = tuple[ModelSpec, Mapping[str, str]]


def parse_overrides(overrides: Mapping[str, str]) -> dict[str, Any]:
    """Read `--spec key=value` texts.

    Raises:
        InvalidInput: an unknown key or a value that is none; names all of them.
    """
    parsed, wrong = {}, []
    for key, text in overrides.items():
        if key not in _PARSERS:
            wrong.append(f"{key}: unknown, wanted one of {', '.join(_PARSERS)}")
            continue
        if not isinstance(text, str):
            wrong.append(f"{key}: wanted text as after --spec, got {text!r}")
            continue
        try:
            parsed[key] = _PARSERS[key](text)
        except (ValueError, ZeroDivisionError):
            wrong.append(f"{key}: cannot be read from {text!r}" + (f" ({_HINTS[key]})" if key in _HINTS else ""))
    if wrong:
        raise InvalidInput("spec: " + "; ".join(wrong))
    return parsed


def settle(
    family: Family | None,
    how: str,
    measured: Mapping[str, Any],
    pixels: Mapping[str, Any] | None,
    given: Mapping[str, Any],
) -> Valued:
    """Put a spec together.

    Args:
        family: whose conventions apply, if any.
        how: how the family is known, in words.
        measured: what the model's shape says: size_px, frames, activation.
        pixels: mean, scale and words, where the model's own first layers say what values go in.
        given: parsed overrides; they win over the family and over `pixels`, but not over `measured`.
    Returns:
        the spec, and where each of its values came from.
    Raises:
        InvalidInput: a value is out of range or contradicts the model.
        ConversionError: values are missing; names all of them.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers: list[tuple[Mapping[str, Any], str]] = [(_DEFAULTS, "default")]
    if family is not None:
        layers.append((_flat(family.spec), f"family {family.name}"))
    if measured["frames"] == 1:
        layers.append(({"sample_fps": None}, "default: every frame"))
    if pixels is not None:
        layers.append(({key: tuple(map(float, pixels[key])) for key in ("mean", "scale")}, str(pixels["words"])))
    # Logits become probabilities on the way: what the bundle gives is measured, not what the file gives.
    stated = {key: value for key, value in given.items() if (key, value) != ("activation", "logits")}
    layers += [(stated, "--spec"), ({key: measured[key] for key in _MEASURED}, "the model")]
    for source, name in layers:
        for key, value in source.items():
            if name == "the model" and key in stated and stated[key] != value:
                raise InvalidInput(f"spec {key}: {stated[key]!r} was given, the model itself has {value!r}")
            values[key], origin[key] = value, name
    missing = [key for key in (*_CROP, *_CLIP, *_MODEL) if key not in values]
    if missing:
        raise ConversionError(
            f"{how}, so nobody but you knows what it expects; give --family, or --spec KEY=VALUE for each of:",
            [f"{key} ({_HINTS[key]})" if key in _HINTS else key for key in missing],
        )
    spec = ModelSpec(
        family=family.name if family is not None else "custom",
        crop=CropSpec(**{key: values[key] for key in _CROP}),
        clip=ClipSpec(**{key: values[key] for key in _CLIP}),
        **{key: values[key] for key in _MODEL},
    )
    return spec, {"family": how, **{key: origin[key] for key in (*_CROP, *_CLIP, *_MODEL)}}


def rows(spec: ModelSpec, origin: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Each value of a spec with its origin, for people."""
    values = {"family": spec.family, **_flat(spec)}
    return [(key, _text(values[key]), origin[key]) for key in ("family", *_CROP, *_CLIP, *_MODEL)]


def _flat(spec: ModelSpec) -> dict[str, Any]:
    return {
        **{key: getattr(spec.crop, key) for key in _CROP},
        **{key: getattr(spec.clip, key) for key in _CLIP},
        **{key: getattr(spec, key) for key in _MODEL},
    }


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return _text(value[0]) if len(set(value)) == 1 else ", ".join(map(_text, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(text)


def _triple(text: str) -> tuple[float, ...]:
    numbers = tuple(_number(part) for part in text.split(","))
    return numbers * 3 if len(numbers) == 1 else numbers


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    "size_px": int, "margin": _number, "fit": str, "resize": str, "channel_order": str, "mean": _triple,
    "scale": _triple, "frames": int, "sample_fps": _number, "stride": int, "classes": _names, "activation": str,
    "threshold": _number, "temperature": _number,
}  # fmt: skip
