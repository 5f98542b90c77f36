"""What the model expects, value by value: from the user, the model, its family, or a harmless default.

How a crop is normalised and which output means fake cannot be read off a network, and are never guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from deepfake_edge.converters.findings import Findings
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

Valued: TypeAlias = tuple[ModelSpec, Mapping[str, str], tuple[str, ...]]


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


def settle(family: Family | None, found: Findings, given: Mapping[str, Any]) -> Valued:
    """Put a spec together.

    Args:
        family: whose conventions apply, if any.
        found: what the model itself says.
        given: parsed overrides; they win over the family and over what the model's first layers say of pixels, but
            not over its sizes.
    Returns:
        the spec, where each of its values came from, and warnings.
    Raises:
        InvalidInput: a value is out of range or contradicts the model.
        ConversionError: values are missing; names all of them.
    """
    values: dict[str, Any] = {}
    origin: dict[str, str] = {}
    layers: list[tuple[Mapping[str, Any], str]] = [(_DEFAULTS, "default")]
    if family is not None:
        layers.append((_flat(family.spec), f"family {family.name}"))
    if found.measured["frames"] == 1:
        layers.append(({"sample_fps": None}, "default: every frame"))
    pixels = {} if found.pixels is None else {key: tuple(map(float, found.pixels[key])) for key in ("mean", "scale")}
    if found.pixels is not None:
        layers.append((pixels, str(found.pixels["words"])))
    # Logits become probabilities on the way: what the bundle gives is measured, not what the file gives.
    stated = {key: value for key, value in given.items() if (key, value) != ("activation", "logits")}
    layers += [(stated, "--spec"), ({key: found.measured[key] for key in _MEASURED}, "the model")]
    for source, name in layers:
        for key, value in source.items():
            if name == "the model" and key in stated and stated[key] != value:
                raise InvalidInput(f"spec {key}: {stated[key]!r} was given, the model itself has {value!r}")
            values[key], origin[key] = value, name
    origin |= found.assumed
    origin |= {key: "--spec" for key in _MEASURED if key in given}
    missing = [key for key in (*_CROP, *_CLIP, *_MODEL) if key not in values]
    if missing:
        raise ConversionError(
            f"{found.how}, so nobody but you knows what it expects; give --family, or --spec KEY=VALUE for each of:",
            [f"{key} ({_HINTS[key]})" if key in _HINTS else key for key in missing],
        )
    spec = ModelSpec(
        family=family.name if family is not None else "custom",
        crop=CropSpec(**{key: values[key] for key in _CROP}),
        clip=ClipSpec(**{key: values[key] for key in _CLIP}),
        **{key: values[key] for key in _MODEL},
    )
    origins = {"family": found.how, **{key: origin[key] for key in (*_CROP, *_CLIP, *_MODEL)}}
    return spec, origins, tuple(_doubts(spec.crop, given, pixels, found))


def _doubts(crop: CropSpec, given: Mapping[str, Any], pixels: Mapping[str, Any], found: Findings) -> Iterator[str]:
    """What is likely to be a slip, though it may be meant."""
    if found.pixels is not None and any(key in given and given[key] != value for key, value in pixels.items()):
        low, high = crop.value_range
        yield (
            f"{found.pixels['words']}, but --spec makes them {low:.4g}..{high:.4g}: unless the model was trained so, "
            "they are normalised twice; leave mean and scale away"
        )
    if "mean" in given and any(crop.mean) and all(0 <= value <= 1 for value in crop.mean):
        yield (
            f"mean {_text(crop.mean)} is taken off pixels of 0..255; if it was meant for 0..1, "
            f"give mean={','.join(f'{value * 255:.6g}' for value in crop.mean)} and divide scale by 255"
        )


def rows(spec: ModelSpec, origin: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Each value of a spec with its origin, for people."""
    values = {"family": spec.family, **_flat(spec)}
    listed = [(key, _text(values[key]), origin[key]) for key in ("family", *_CROP, *_CLIP, *_MODEL)]
    low, high = spec.crop.value_range
    place = next(number for number, row in enumerate(listed) if row[0] == "scale") + 1
    return [*listed[:place], ("pixels 0..255", f"become {low:.4g}..{high:.4g}", "mean and scale"), *listed[place:]]


def _flat(spec: ModelSpec) -> dict[str, Any]:
    return {
        **{key: getattr(spec.crop, key) for key in _CROP},
        **{key: getattr(spec.clip, key) for key in _CLIP},
        **{key: getattr(spec, key) for key in _MODEL},
    }


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return _text(value[0]) if len(set(value)) == 1 else ", ".join(map(_text, value))
    if value is None:
        return "every frame"
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
