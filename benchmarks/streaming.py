"""A verdict per new frame: `session.push` against Keras `predict` on the last window, both in this process.

    python -m deepfake_edge.benchmarks.streaming model.keras model.dfe clip.mp4 [--faces FINDER]

The two take turns, so that the machine's mood meets both alike. The push includes finding the face, tracking,
cropping, backbone and head; `predict` is given crops that are ready. Keras loads the model in this process, without
the converter's care: for a model of your own. Needs the `convert` extra.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepfake_edge.choices import open_source
from deepfake_edge.converters.failures import told
from deepfake_edge.data import Floats, Frame
from deepfake_edge.detector import Detector
from deepfake_edge.errors import DeepfakeEdgeError, InvalidInput
from deepfake_edge.model import fake_scores
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.session import Session
from deepfake_edge.training import workshop

_PUSHES_A_TURN = 15


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table or JSON."""
    parser = argparse.ArgumentParser(description="Time a verdict per new frame, here and in Keras.")
    parser.add_argument("keras", type=Path, help="the full model as a .keras file")
    parser.add_argument("bundle", type=Path, help="what it was converted to")
    parser.add_argument("clip", type=Path, help="a video with a face throughout")
    parser.add_argument("--faces", default="auto", help="finder (default: auto)")
    parser.add_argument("--turns", type=int, default=8, help="turns of each (default: 8)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        figures = measure(given.keras, given.bundle, given.clip, faces=given.faces, turns=given.turns)
    except DeepfakeEdgeError as error:
        parser.exit(1, f"{type(error).__name__}: {error}\n")
    if given.json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value:.5g}")
    return 0


def measure(keras: Path, bundle: Path, clip: Path, *, faces: str, turns: int) -> dict[str, float]:
    """Time both on the same frames.

    Returns:
        milliseconds a verdict, their ratios, and the largest difference between the two fake scores.
    Raises:
        ConversionError: `keras` is no model that can be loaded.
        InvalidInput: the clip shows no face long enough to fill a window.
    """
    with workshop.quiet(), told(f"{keras}: Keras cannot load it"):
        model = workshop.keras().saving.load_model(keras, compile=False)
    with Detector(bundle, faces=faces) as detector, detector.session() as session:
        frames = _endless(clip, detector)
        crops = _fill(session, frames, detector)
        push_ms: list[float] = []
        predict_ms: list[float] = []
        differences: list[float] = []
        for _ in range(turns):
            for frame in itertools.islice(frames, _PUSHES_A_TURN):
                start = time.perf_counter()
                moment = session.observe(frame)
                push_ms.append((time.perf_counter() - start) * 1000.0)
                if len(moment.scores) != 1:
                    raise InvalidInput(f"{clip}: wanted one face in every frame")
                crops = [*crops[1:], _crop(frame, moment.tracks[0].face.box_xyxy, detector)]
                score = moment.scores[0].fake_score
            window = np.stack(crops).transpose(0, 2, 3, 1)
            if len(model.inputs[0].shape) == 5:
                window = window[None]
            start = time.perf_counter()
            outputs = model.predict(window, verbose=0)
            predict_ms.append((time.perf_counter() - start) * 1000.0)
            differences.append(abs(float(fake_scores(outputs, detector.spec)[0]) - score))
    return _figures(push_ms, predict_ms[1:], differences)


def _figures(push_ms: list[float], predict_ms: list[float], differences: list[float]) -> dict[str, float]:
    push, predict = statistics.median(push_ms), statistics.median(predict_ms)
    return {
        "push_median_ms": push,
        "push_min_ms": min(push_ms),
        "keras_predict_median_ms": predict,
        "keras_predict_min_ms": min(predict_ms),
        "ratio_of_medians": predict / push,
        "ratio_keras_min_to_push_median": min(predict_ms) / push,
        "score_max_diff": max(differences),
    }


def _fill(session: Session, frames: Iterator[Frame], detector: Detector) -> list[Floats]:
    """Push until the first score; return the crops of that window."""
    crops: list[Floats] = []
    for frame in itertools.islice(frames, 4 * detector.spec.clip.frames):
        moment = session.observe(frame)
        if len(moment.tracks) == 1:
            crops.append(_crop(frame, moment.tracks[0].face.box_xyxy, detector))
        if moment.scores:
            return crops[-detector.spec.clip.frames :]
    raise InvalidInput("the clip shows no face long enough to fill a window")


def _crop(frame: Frame, box: tuple[float, float, float, float], detector: Detector) -> Floats:
    crop: Floats = crop_batch(frame, np.array([box], np.float32), detector.spec.crop)[0]
    return crop


def _endless(clip: Path, detector: Detector) -> Iterator[Frame]:
    """The clip forwards and backwards for ever, at the model's own rate."""
    with open_source(clip, 25.0) as source:
        pictures = [frame.pixels for frame in source.frames()]
    back_and_forth = itertools.cycle([*pictures, *pictures[-2:0:-1]])
    fps = detector.spec.clip.sample_fps or 25.0
    for index, pixels in enumerate(back_and_forth):
        yield Frame(index, index / fps, pixels)


if __name__ == "__main__":
    raise SystemExit(main())
