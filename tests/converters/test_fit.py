"""Labelled clips find the reading that a model was trained with."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_edge.bundle import Bundle, Variant
from deepfake_edge.converters.fit import compare_fits
from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.golden_arrays import Golden
from deepfake_edge.spec import ClipSpec, CropSpec, ModelSpec

onnx = pytest.importorskip("onnx")
SIDE = 8
TRUE = CropSpec(size_px=SIDE, channel_order="rgb", mean=(0.0,) * 3, scale=(1 / 255,) * 3)


def redness(crop: CropSpec, classes: tuple[str, ...]) -> Bundle:
    """A bundle that calls a picture fake where its first plane is brighter than its last, in 0..1."""
    helper, tensor = onnx.helper, onnx.TensorProto
    weight = np.zeros((1, 3, SIDE, SIDE), np.float32)
    weight[0, 0], weight[0, 2] = 40 / SIDE**2, -40 / SIDE**2
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["crops", "w"], ["c"]),
            helper.make_node("Flatten", ["c"], ["f"]),
            helper.make_node("Sigmoid", ["f"], ["outputs"]),
        ],
        "red",
        [helper.make_tensor_value_info("crops", tensor.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("outputs", tensor.FLOAT, ["batch", 1])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    spec = ModelSpec("custom", crop, ClipSpec(), classes, "sigmoid")
    golden = Golden(
        np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros((1, 1), np.int64), np.full((1, 1), 0.5, np.float32),
        np.full((1, 1), 0.5, np.float32),
    )  # fmt: skip
    return Bundle("red", spec, {"fp32": Variant(model.SerializeToString(), None, {})}, golden, {})


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Pictures without a face, taken as ready crops: reddish ones are fake, bluish ones are real."""
    cv2 = pytest.importorskip("cv2")
    folder = tmp_path_factory.mktemp("labelled")
    labelled = []
    for number in range(3):
        for truth, (blue, red) in (("fake", (60, 120 + 30 * number)), ("real", (120 + 30 * number, 60))):
            picture = np.full((64, 64, 3), (blue, 90, red), np.uint8)
            path = folder / f"{truth}{number}.png"
            cv2.imwrite(str(path), picture)
            labelled.append((path, truth))
    return tuple(labelled)


def test_the_right_reading_is_best_and_nothing_is_said(clips):
    fits, warnings = compare_fits(redness(TRUE, ("fake",)), clips)
    assert fits[0].chosen
    assert fits[0].right == fits[0].clips == len(clips)
    assert len(fits) == 5 * 2 * 2
    assert warnings == (f"{len(clips)} labelled pictures show no face that could be found; taken as ready crops",)
    # Raw pixels saturate the scores, which flatters their log-loss; that is no reason to take them.
    raw = next(fit for fit in fits if fit.pixels == "0..255" and fit.right == len(clips))
    assert raw.log_loss < fits[0].log_loss


@pytest.mark.parametrize(
    ("crop", "classes"),
    [
        (TRUE, ("real",)),
        (CropSpec(size_px=SIDE, channel_order="bgr", mean=(0.0,) * 3, scale=(1 / 255,) * 3), ("fake",)),
    ],
)
def test_a_wrong_reading_is_seen(crop, classes, clips):
    fits, warnings = compare_fits(redness(crop, classes), clips)
    warning = warnings[0]
    assert f"gets 0 of {len(clips)} labelled clips right, another {len(clips)}" in warning
    assert next(fit for fit in fits if fit.chosen).right == 0
    assert "--classes" in fits[0].options


def test_a_reading_of_ones_own_is_among_them(clips):
    fits, _ = compare_fits(redness(CropSpec(size_px=SIDE, mean=(10.0,) * 3, scale=(1 / 200,) * 3), ("fake",)), clips)
    assert [fit.pixels for fit in fits if fit.chosen] == ["as given"]


def test_clips_of_one_kind_prove_little(clips):
    _, warnings = compare_fits(redness(TRUE, ("fake",)), [clip for clip in clips if clip[1] == "real"])
    assert any("give both kinds" in warning for warning in warnings)


def test_what_cannot_be_tried_is_said(clips, tmp_path):
    bundle = redness(TRUE, ("fake",))
    with pytest.raises(InvalidInput, match="given twice"):
        compare_fits(bundle, (clips[0], (clips[0][0], "fake" if clips[0][1] == "real" else "real")))
    with pytest.raises(InvalidInput, match="real or fake"):
        compare_fits(bundle, ((clips[0][0], "forged"),))
    with pytest.raises(InvalidInput, match="is no file"):
        compare_fits(bundle, ((tmp_path / "no.mp4", "fake"),))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(SourceError):
        compare_fits(bundle, ((broken, "fake"),))
