"""Xception-Conv-RNN: Xception (Chollet, CVPR 2017) and two convolutions on each face crop, then an LSTM or GRU in one
direction or both, dense layers, softmax of (real, fake); if wanted, a score for each frame too.

Published: the crop of 224 x 224, the layers and their sizes; and Xception's pixel values in Keras (-1..1, RGB). Our
choice: the order of the classes, convolutions that keep the size and have a bias, and the window, a second of video
as with `xception-lstm`, so that the two can be compared and put into one ensemble.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from deepfake_edge.errors import InvalidInput
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec
from deepfake_edge.training import workshop
from deepfake_edge.training.families.family import Family, Sizes, clip_sizes, recurrent

Rnn: TypeAlias = Literal["lstm", "bilstm", "gru", "bigru"]

# 234 of Xception, 6 of each convolution with its normalisation, 2 of each of three dense layers
_WEIGHTS = 252
_RNN_WEIGHTS = 3  # in each direction
_FRAME_WEIGHTS = 2


def build_xception_conv_rnn(
    frames: int = 30, size_px: int = 224, units: int = 256, rnn: str = "lstm", frame_scores: int = 0
) -> Any:
    """Build the untrained model: (frames, size_px, size_px, 3) in -1..1, RGB -> softmax of (real, fake).

    Args:
        frames: crops in a window.
        size_px: side of a crop, 71 or more.
        units: size of the recurrent state, in each direction.
        rnn: `lstm`, `bilstm`, `gru` or `bigru`.
        frame_scores: 1 adds a second output, (frames, 2): a softmax for each frame. It reads the frame's own
            features and not the recurrent states, so that a frame has one score whatever window it is seen in.
    Raises:
        InvalidInput: another `rnn` or `frame_scores`.
    """
    if rnn not in get_args(Rnn):
        raise InvalidInput(f"rnn: wanted one of {', '.join(get_args(Rnn))}, got {rnn!r}")
    if frame_scores not in (0, 1):
        raise InvalidInput(f"frame_scores: wanted 0 or 1, got {frame_scores!r}")
    keras = workshop.keras()
    layers = keras.layers
    shape = (size_px, size_px, 3)
    clip = keras.Input((frames, *shape))
    cnn = keras.applications.Xception(include_top=False, weights=None, input_shape=shape)
    values = layers.TimeDistributed(cnn)(clip)
    for filters in (128, 256):
        values = layers.TimeDistributed(layers.Conv2D(filters, 3, padding="same"))(values)
        values = layers.TimeDistributed(layers.BatchNormalization())(values)
        values = layers.TimeDistributed(layers.ReLU())(values)
    features = layers.TimeDistributed(layers.GlobalAveragePooling2D())(values)
    recurrent = (layers.LSTM if rnn.endswith("lstm") else layers.GRU)(units)
    state = (layers.Bidirectional(recurrent) if rnn.startswith("bi") else recurrent)(features)
    for width in (512, 256):
        state = layers.Dropout(0.3)(layers.Dense(width, activation="relu")(state))
    outputs = [layers.Dense(2, activation="softmax", name="clip_score")(state)]
    if frame_scores:
        outputs.append(layers.TimeDistributed(layers.Dense(2, activation="softmax"), name="frame_scores")(features))
    return keras.Model(clip, outputs if frame_scores else outputs[0], name="xception_conv_rnn")


def _sizes(model: Any) -> Sizes | None:
    found = recurrent(model)
    if found is None:
        return None
    both = type(found).__name__ == "Bidirectional"
    frame_scores = int(len(model.outputs) == 2)
    window = clip_sizes(model, _WEIGHTS + _RNN_WEIGHTS * (1 + both) + _FRAME_WEIGHTS * frame_scores)
    kind = type(found.forward_layer if both else found).__name__.lower()
    return window and {**window, "rnn": "bi" + kind if both else kind, "frame_scores": frame_scores}


XCEPTION_CONV_RNN = Family(
    name="xception-conv-rnn",
    spec=ModelSpec(
        family="xception-conv-rnn",
        crop=CropSpec(size_px=224, resize="bilinear"),
        clip=ClipSpec(frames=30, sample_fps=30.0),
        classes=("real", "fake"),
        activation="softmax",
    ),
    build=build_xception_conv_rnn,
    sizes=_sizes,
)
