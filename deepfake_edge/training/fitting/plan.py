"""What is trained on what: settled, and refused where it cannot work, before anything is built."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deepfake_edge.converters.family_option import Sizes, parse_family, with_given
from deepfake_edge.converters.spec_values import parse_overrides
from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ModelSpec
from deepfake_edge.training.families import Family
from deepfake_edge.training.fitting.options import TrainOptions
from deepfake_edge.training.preparing.prepared import RECORD, Prepared, PreparedClip
from deepfake_edge.training.preparing.settings import Settings

_SIZES = ("size_px", "frames")
# A PNG ends in the Adler-32 of all its pixels' bytes, the CRC of that chunk, and an empty chunk of 12 bytes.
_PNG_END = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained on what.

    Attributes:
        family: the architecture.
        sizes: for its `build`, those that differ from its own.
        spec: what the trained model will expect.
        train: clips to learn from.
        val: clips to choose the best epoch by; never learnt from.
        notes: what a user should know of it.
    """

    family: Family
    sizes: Sizes
    spec: ModelSpec
    train: tuple[PreparedClip, ...]
    val: tuple[PreparedClip, ...]
    notes: tuple[str, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Clips of each label in each split."""
        return {
            split: {label: sum(clip.entry.label == label for clip in clips) for label in ("real", "fake")}
            for split, clips in (("train", self.train), ("val", self.val))
        }

    def counts_in_words(self) -> str:
        """The same for people."""
        return f"train: {_found(self.train)} clips; val: {_found(self.val)} clips"

    def convert_options(self) -> list[str]:
        """What `deepfake-edge convert` must be told of the trained model."""
        sizes = ",".join(f"{key}={value}" for key, value in self.sizes.items())
        own, ours = _flat(self.family.spec), _flat(self.spec)
        told = [key for key in ours if ours[key] != own[key] and key not in _SIZES]
        family = f"{self.family.name}:{sizes}" if sizes else self.family.name
        return ["--family", family, *(part for key in told for part in ("--spec", f"{key}={_text(ours[key])}"))]


def make_plan(prepared: Prepared, options: TrainOptions) -> Plan:
    """Settle what is trained on what.

    Raises:
        InvalidInput: an option is wrong, a split lacks a label, or no clip is as long as a window.
    """
    family, sizes = parse_family(options.family)
    given = parse_overrides(options.spec)
    sizes = with_given(family, sizes, given)
    spec, notes = _spec(family, sizes, given, prepared.settings)
    train, val = prepared.of("train"), prepared.of("val")
    _check_stages(options, spec)
    _check_clips(train, val, options, prepared)
    longest = max(len(clip.times_s) for clip in train)
    if longest < spec.clip.frames:
        raise InvalidInput(
            f"a window of {spec.clip.frames} frames is longer than any clip to train on ({longest}); "
            f"wanted --family {family.name}:frames={longest} or fewer, or prepare with more --frames"
        )
    notes += _people_notes(train, val)
    return Plan(family, sizes, spec, train, val, tuple(notes))


def data_digest(plan: Plan) -> str:
    """SHA-256 over the records of the clips that a plan uses, and what their pictures' files say of their pixels."""
    digest = hashlib.sha256()
    for clip in (*plan.train, *plan.val):
        digest.update(clip.id.encode())
        digest.update((clip.folder / RECORD).read_bytes())
        for path in sorted(clip.folder.glob("*.png")):
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                file.seek(-min(_PNG_END, path.stat().st_size), os.SEEK_END)
                digest.update(file.read())
    return digest.hexdigest()


def _spec(family: Family, sizes: Sizes, given: Mapping[str, Any], settings: Settings) -> tuple[ModelSpec, list[str]]:
    own = {key: item.default for key, item in inspect.signature(family.build).parameters.items()}
    built = {**own, **sizes}
    given = dict(given)
    for key in _SIZES:
        wanted = built.get(key, family.spec.clip.frames)
        if given.setdefault(key, wanted) != wanted:
            raise InvalidInput(f"spec {key}: {given[key]} was given, --family {family.name} says {wanted}")
    notes = list(_rate_notes(family.spec, built.get("frames", 1), given, settings))
    if given.get("activation", family.spec.activation) != family.spec.activation:
        raise InvalidInput(f"spec activation: {family.name} ends in a {family.spec.activation}")
    return family.spec.changed(given), notes


def _rate_notes(own: ModelSpec, frames: int, given: dict[str, Any], settings: Settings) -> Iterator[str]:
    """What is to be said of a window's rate; a lower one than the family's, as prepared, becomes the model's."""
    if frames == 1:
        return
    if settings.fps is None:
        yield (
            "the clips were prepared evenly over their time, so their windows have no rate of their own; for a model "
            "of windows: deepfake-edge prepare --consecutive"
        )
    elif "sample_fps" not in given and own.clip.sample_fps is not None and settings.fps < own.clip.sample_fps:
        given["sample_fps"] = settings.fps
        yield f"the clips were prepared at {settings.fps:g} frames a second, and so the model will expect them"


def _people_notes(*splits: tuple[PreparedClip, ...]) -> Iterator[str]:
    train, val = ({(clip.entry.dataset, name) for clip in clips for name in clip.entry.people} for clips in splits)
    if train & val:
        yield f"{len(train & val)} of {len(val)} people of val are in train too: its figures are not of unseen people"


def _check_stages(options: TrainOptions, spec: ModelSpec) -> None:
    kinds = [stage.kind for stage in options.stages]
    if "frames" in kinds and spec.clip.frames == 1:
        raise InvalidInput(f"stages: {spec.family} sees single crops already; leave frames out")
    if kinds != sorted(kinds, key=lambda kind: kind != "frames"):
        raise InvalidInput("stages: frames changes the backbone under a head that has learnt already; put it first")
    if kinds[-1] == "frames":
        raise InvalidInput("stages: after frames the head knows nothing yet; add head:N or all:N")


def _check_clips(
    train: tuple[PreparedClip, ...], val: tuple[PreparedClip, ...], options: TrainOptions, prepared: Prepared
) -> None:
    blended = options.feed.self_blended > 0.0
    for split, clips in (("train", train), ("val", val)):
        labels = {clip.entry.label for clip in clips}
        if "real" not in labels:
            raise InvalidInput(f"{prepared.folder}: {split}: wanted real clips, found {_found(clips)}; prepare some")
        if "fake" not in labels and not (options.feed.self_blended == 1.0 or (split == "val" and blended)):
            raise InvalidInput(
                f"{prepared.folder}: {split}: wanted fake clips, found {_found(clips)}; prepare some, or train on "
                "self-blended fakes of the real ones alone: --self-blended 1"
            )


def _found(clips: tuple[PreparedClip, ...]) -> str:
    return ", ".join(f"{sum(clip.entry.label == label for clip in clips)} {label}" for label in ("real", "fake"))


def _flat(spec: ModelSpec) -> dict[str, Any]:
    rest = asdict(spec)
    return {**rest.pop("crop"), **rest.pop("clip"), **rest}


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
