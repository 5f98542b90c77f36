"""The main job without any data but what dependencies ship: a .keras file, a clip, a verdict that is Keras's own."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from deepfake_edge.cli import main
from deepfake_edge.errors import MissingDependency
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec

FRAMES, SIDE, FPS = 6, 48, 10.0
SPEC = ModelSpec(
    family="custom",
    crop=CropSpec(size_px=SIDE, resize="bicubic"),
    clip=ClipSpec(FRAMES, FPS),
    classes=("real", "fake"),
    activation="softmax",
)
EXPECTS = (
    "margin=1", "fit=stretch", "resize=bicubic", "channel_order=rgb", "mean=127.5", "scale=1/127.5",
    f"sample_fps={FPS}", "classes=real,fake",
)  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def keras():
    from deepfake_edge.training import workshop

    try:
        return workshop.keras()
    except MissingDependency as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def model(keras, tmp_path_factory):
    from deepfake_edge.training.untrained import seed_weights

    layers = keras.layers
    cnn = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.SeparableConv2D(16, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    clip = keras.Input((FRAMES, SIDE, SIDE, 3))
    state = layers.Bidirectional(layers.LSTM(8))(layers.TimeDistributed(cnn)(clip))
    built = keras.Model(clip, layers.Dense(2, activation="softmax")(state))
    seed_weights(built, SPEC)
    path = tmp_path_factory.mktemp("job") / "model.keras"
    built.save(path)
    return built, path


@pytest.fixture(scope="module")
def bundle(model):
    _, source = model
    path = source.with_suffix(".dfe")
    options = [part for value in EXPECTS for part in ("--spec", value)]
    assert main(["-q", "convert", str(source), "-o", str(path), *options]) == 0
    return path


@pytest.fixture(scope="module")
def picture():
    from deepfake_edge.training.face_crops import photograph

    return cv2.imread(str(photograph()))


def brightening(picture: np.ndarray) -> list[np.ndarray]:
    return [cv2.convertScaleAbs(picture, alpha=0.5 + 0.06 * index) for index in range(20)]


def test_the_verdict_of_a_folder_of_frames_is_keras_own(capsys, model, bundle, picture, tmp_path):
    built, _ = model
    frames = tmp_path / "frames"
    frames.mkdir()
    pictures = brightening(picture[100:400, 120:420])
    for index, frame in enumerate(pictures):
        cv2.imwrite(str(frames / f"{index}.png"), frame)
    capsys.readouterr()
    detect = ["-q", "detect", str(frames), "--fps", str(FPS), "--faces", "whole", "--model", str(bundle), "--json", "-"]
    assert main(detect) == 0
    result = json.loads(capsys.readouterr().out)
    windows = result["tracks"][0]["windows"]
    assert len(windows) == len(pictures) - FRAMES + 1
    assert [item["fake_score"] for item in windows] == pytest.approx(keras_scores(built, pictures), abs=1e-4)
    assert np.ptp([item["fake_score"] for item in windows]) > 0.05
    assert result["label"] == ("fake" if result["fake_score"] >= 0.5 else "real")


def keras_scores(built, pictures: list[np.ndarray]) -> list[float]:
    """What the author of such a model does: Pillow's resize, normalise, predict on every window."""
    image_module = pytest.importorskip("PIL.Image")
    crops = [
        np.asarray(image_module.fromarray(frame[..., ::-1]).resize((SIDE, SIDE), image_module.Resampling.BICUBIC))
        for frame in pictures
    ]
    values = np.stack(crops).astype(np.float32) / 127.5 - 1.0
    windows = np.stack([values[start : start + FRAMES] for start in range(len(values) - FRAMES + 1)])
    return built.predict(windows, verbose=0)[:, 1].tolist()


def test_a_real_face_is_found_followed_and_judged(capsys, bundle, picture, tmp_path):
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"mp4v"), 25.0, (512, 600))
    for index in range(50):
        shift = np.float32([[1, 0, 20 * np.sin(index / 8)], [0, 1, 10 * np.cos(index / 8)]])
        writer.write(cv2.warpAffine(picture, shift, (512, 600)))
    writer.release()
    seen = tmp_path / "seen.mp4"
    capsys.readouterr()
    command = ["-q", "detect", str(clip), "--faces", "haar", "--model", str(bundle)]
    assert main([*command, "--json", "-", "--annotate", str(seen)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["label"] in ("real", "fake")
    assert (result["frames_read"], result["complete"], len(result["tracks"])) == (50, True, 1)
    assert cv2.VideoCapture(str(seen)).get(cv2.CAP_PROP_FRAME_COUNT) == 50
