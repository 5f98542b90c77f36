"""Train a small Xception-LSTM on self-blended fakes of your own real clips, to measure precision on.

    python -m deepfake_edge.benchmarks.trained --train FILES... --held-out FILES... --out FOLDER [--minutes N]

Random weights prove nothing about quantisation; this model separates real from self-blended faces of people it
never saw. Its backbone learns single crops first (with the mask as a second answer, as in Face X-ray, Li et al.,
CVPR 2020), on small patches of them, then on whole ones; the LSTM learns windows of its features. Writes
`model.keras`, and `backbone.weights.h5` every few minutes. Needs the `convert` extra.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from deepfake_edge.benchmarks.real_clips import (
    FaceClip,
    area_under_curve,
    cut_clip,
    in_windows,
    read_clip,
    self_blended,
)
from deepfake_edge.data import Face, Floats, Pixels
from deepfake_edge.errors import DeepfakeEdgeError
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import CropSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.xception_lstm import XCEPTION_LSTM, build_xception_lstm
from deepfake_edge.training.self_blended import Tone, apply_tone, draw_blend, draw_tone, self_blend

FRAMES, SIZE_PX, UNITS, FPS = 10, 128, 128, 12.0
CROP = replace(XCEPTION_LSTM.spec.crop, size_px=SIZE_PX, margin=1.3)
_PLAIN = replace(CROP, mean=(0.0, 0.0, 0.0), scale=(1 / 255, 1 / 255, 1 / 255))
_PATCH_PX, _PAIRS = 80, 8
_WHOLE_SHARE = 0.2
STRENGTH = 1.5
# Where the entry, middle and exit flows begin: each answers for the mask, too.
_FLOWS = ("block4_sepconv1_act", "block5_sepconv1_act", "block13_sepconv1_act")


def cut(picture: Pixels, face: Face, spec: CropSpec = CROP) -> Floats:
    """A face as the network wants it: float32 (S, S, 3)."""
    planes = crop_batch(picture, np.asarray([face.box_xyxy], np.float32), spec)
    return np.ascontiguousarray(planes[0].transpose(1, 2, 0))


def make_pairs(clips: Sequence[FaceClip], random: np.random.Generator, side: int) -> tuple[Floats, Floats, Floats]:
    """Real crops and their self-blended twins, varied alike.

    Returns:
        crops float32 (2 * pairs, side, side, 3), labels (2 * pairs, 1) and masks (2 * pairs, side, side, 1).
    """
    crops, labels, masks = [], [], []
    for _ in range(_PAIRS):
        clip = clips[int(random.integers(len(clips)))]
        index = int(random.integers(len(clip.pictures)))
        picture, face = clip.pictures[index], clip.faces[index]
        fake, mask = self_blend(picture, face.box_xyxy, draw_blend(random, face, STRENGTH))
        tone, moved = draw_tone(random) if random.random() < 0.5 else Tone(), _moved(face, random)
        left, top = random.integers(0, SIZE_PX - side + 1, 2)
        here = (slice(top, top + side), slice(left, left + side))
        mirror = -1 if random.random() < 0.5 else 1
        grey = np.repeat(np.rint(mask * 255).astype(np.uint8)[..., None], 3, 2)
        share = cut(grey, moved, _PLAIN)[here][:, ::mirror, :1] / mask.max()
        share = np.minimum(share, 1)
        share = np.concatenate([share, 4 * share * (1 - share)], 2)
        for label, pixels in ((0.0, picture), (1.0, fake)):
            crops.append(cut(apply_tone(pixels, tone), moved)[here][:, ::mirror])
            labels.append([label])
            masks.append(share * np.float32(label))
    return np.stack(crops), np.asarray(labels, np.float32), np.stack(masks)


def varied(clip: FaceClip, random: np.random.Generator) -> FaceClip:
    """A clip in another tone, with boxes as loose as a finder's."""
    tone = draw_tone(random)
    pictures = tuple(apply_tone(picture, tone) for picture in clip.pictures)
    return replace(clip, pictures=pictures, faces=tuple(_moved(face, random) for face in clip.faces))


def crops_of(clip: FaceClip) -> Floats:
    """A clip's crops as Keras wants them: float32 (N, S, S, 3)."""
    crops: Floats = cut_clip(clip, CROP).transpose(0, 2, 3, 1)
    return crops


class Recipe:
    """The model in training.

    Args:
        train: clips to learn from.
        held: clips to look at now and then; never learnt from.
        out: folder for weights and model.
        seed: of everything that is drawn.
    """

    def __init__(self, train: Sequence[FaceClip], held: Sequence[FaceClip], out: Path, seed: int) -> None:
        self.keras = workshop.keras()
        self.keras.utils.set_random_seed(seed)
        self.train, self.held, self.out = train, held, out
        self.random = np.random.default_rng(seed)
        self.model = build_xception_lstm(FRAMES, SIZE_PX, UNITS)
        self.backbone = self.keras.applications.Xception(
            include_top=False, weights=None, input_shape=(None, None, 3), pooling="avg"
        )
        for layer in self.backbone.layers:
            if isinstance(layer, self.keras.layers.BatchNormalization):
                layer.momentum = 0.9
        self.weights = out / "backbone.weights.h5"
        self.checked = np.concatenate([crops_of(clip)[::5] for clip in held])
        fakes = [self_blended(clip, (seed, place), STRENGTH) for place, clip in enumerate(held)]
        self.checked_fakes = np.concatenate([crops_of(clip)[::5] for clip in fakes])

    def learn_crops(self, minutes: float) -> None:
        """Train the backbone on crops until the time is over."""
        layers = self.keras.layers
        score = layers.Dense(1, activation="sigmoid")(layers.Dropout(0.3)(self.backbone.output))
        maps = [layers.Conv2D(2, 1, activation="sigmoid")(self.backbone.get_layer(flow).output) for flow in _FLOWS]
        judge = self.keras.Model(self.backbone.input, [score, *maps])
        smooth = self.keras.losses.BinaryCrossentropy(label_smoothing=0.1)
        rate = self.keras.optimizers.Adam(1e-3)
        judge.compile(rate, [smooth, *["binary_crossentropy"] * len(maps)], jit_compile=False)
        began, step, looked = time.monotonic(), 0, 0.0
        recent: list[list[float]] = []
        while (spent := (time.monotonic() - began) / 60 / minutes) < 1:
            rate.learning_rate = 1e-3 * (0.05 + 0.95 * (1 - spent))
            side = _PATCH_PX if spent < 1 - _WHOLE_SHARE else SIZE_PX
            crops, labels, masks = make_pairs(self.train, self.random, side)
            places = [shape[1:3] for shape in judge.compute_output_shape((1, side, side, 3))[1:]]
            shares = [np.asarray(workshop.tensorflow().image.resize(masks, place, "area")) for place in places]
            losses = judge.train_on_batch(crops, [labels, *shares])
            judge.reset_metrics()
            recent.append([float(value) for value in losses])
            step += 1
            if spent - looked > 0.05:
                looked = spent
                self.backbone.save_weights(self.weights)
                _say(f"step {step}, {spent:.0%}, losses {np.mean(recent, 0).round(3)}, {self._look(judge)}")
                recent.clear()
        self.backbone.save_weights(self.weights)

    def _look(self, judge: Any) -> str:
        real, fake = (judge.predict(crops, verbose=0)[0][:, 0] for crops in (self.checked, self.checked_fakes))
        medians = f"medians {np.median(real):.2f} {np.median(fake):.2f}"
        return f"held-out crops: AUC {area_under_curve(real, fake):.3f}, {medians}"

    def learn_windows(self, rounds: int, epochs: int) -> None:
        """Train the LSTM and the last layer on windows of the backbone's features; save the whole model.

        Args:
            rounds: real and fake variations of each clip.
            epochs: over their windows.
        """
        self.model.layers[1].layer.set_weights(self.backbone.get_weights())
        windows, labels = [], []
        for clip in self.train:
            for number in range(2 * rounds):
                label = number % 2
                shown = self_blended(clip, int(self.random.integers(2**32)), STRENGTH) if label else clip
                values = in_windows(self.backbone.predict(crops_of(varied(shown, self.random)), verbose=0), FRAMES)
                windows.append(values)
                labels += [label] * len(values)
        features = self.keras.Input((FRAMES, self.backbone.output_shape[-1]))
        values = features
        for layer in self.model.layers[2:]:
            values = layer(values)
        head = self.keras.Model(features, values)
        smooth = self.keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
        head.compile(self.keras.optimizers.Adam(1e-3), smooth, jit_compile=False)
        answers = np.eye(2, dtype=np.float32)[labels]
        found = head.fit(np.concatenate(windows), answers, batch_size=64, epochs=epochs, shuffle=True, verbose=0)
        _say(f"windows: {len(labels)}, loss {found.history['loss'][0]:.3f} -> {found.history['loss'][-1]:.3f}")
        self.model.save(self.out / "model.keras")

    def judge_held_out(self, blends: int = 8) -> None:
        """Say how well the whole model separates windows of the held-out clips from fakes of them."""
        scores: tuple[list[Floats], list[Floats]] = ([], [])
        for place, clip in enumerate(self.held):
            fakes = [self_blended(clip, (place, number), STRENGTH) for number in range(blends)]
            for shown in (clip, *fakes):
                windows = in_windows(crops_of(shown), FRAMES, stride=3)
                scores[shown is not clip].append(self.model.predict(windows, batch_size=4, verbose=0)[:, 1])
        real, fake = np.concatenate(scores[0]), np.concatenate(scores[1])
        _say(f"held-out windows: AUC {area_under_curve(real, fake):.4f} ({len(real)} real, {len(fake)} fake)")
        for name, values in (("real", real), ("fake", fake)):
            _say(f"{name}: scores' 5, 50, 95 % {np.percentile(values, (5, 50, 95)).round(3)}")


def _moved(face: Face, random: np.random.Generator) -> Face:
    """The face with a box as loose as a finder's."""
    left, top, right, bottom = face.box_xyxy
    wide, high = right - left, bottom - top
    errors = random.uniform(-0.05, 0.05, 4) * (wide, high, wide, high)
    return replace(face, box_xyxy=(left + errors[0], top + errors[1], right + errors[2], bottom + errors[3]))


def _say(words: str) -> None:
    print(time.strftime("%H:%M:%S"), words, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, save, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True, metavar="CLIP", help="real clips")
    parser.add_argument("--held-out", type=Path, nargs="+", required=True, metavar="CLIP", help="of other people")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--minutes", type=float, default=35.0, help="for the backbone (default: 35; 0: none)")
    parser.add_argument("--rounds", type=int, default=8, help="real and fake variations of a clip for the LSTM")
    parser.add_argument("--epochs", type=int, default=30, help="of the LSTM")
    parser.add_argument("--resume", action="store_true", help="start from the backbone in --out")
    parser.add_argument("--seed", type=int, default=20220619)
    given = parser.parse_args(arguments)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        train, held = ([read_clip(path, FPS) for path in paths] for paths in (given.train, given.held_out))
        recipe = Recipe(train, held, given.out, given.seed)
        if given.resume:
            recipe.backbone.load_weights(recipe.weights)
        if given.minutes > 0:
            recipe.learn_crops(given.minutes)
        recipe.learn_windows(given.rounds, given.epochs)
        recipe.judge_held_out()
    except (DeepfakeEdgeError, OSError) as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
