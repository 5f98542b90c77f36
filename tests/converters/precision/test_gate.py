"""The gate of lower precisions: what it measures, what it lets through, what a user can set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from deepfake_edge.converters.parity import Answers
from deepfake_edge.converters.precision.gate import GATES, Gate, measure, objections, parse_gates, rank_agreement
from deepfake_edge.converters.reference import Reference
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.golden_arrays import Golden
from fakes import bright_means_fake

SPEC = bright_means_fake(frames=4, sample_fps=10.0).spec


def truth(scores, golden: int = 0) -> Reference:
    """Of the crop set's own windows, and of so many golden ones after them."""
    outputs = np.asarray(scores, np.float32)[:, None]
    windows = np.arange(4 * len(outputs)).reshape(-1, 4)
    features = np.ones((windows.size, 3), np.float32)
    last = len(outputs) - golden
    golden = Golden(np.zeros((1, 8, 8, 3), np.uint8), windows[last:] * 0, features[:1], outputs[last:])
    return Reference(windows, features, outputs, outputs, outputs, np.arange(len(outputs)), golden)


def figures(ours, theirs, features: float = 1.0) -> dict:
    wanted = truth(theirs)
    found = Answers(wanted.features * np.float32(features), np.asarray(ours, np.float32)[:, None], None)
    return measure(found, wanted, SPEC, fused=False)


def test_every_stage_is_measured():
    found = figures([0.1, 0.9, 0.6, 0.4], [0.1, 0.8, 0.6, 0.2], features=1.5)
    assert found["windows"] == 4
    assert found["outputs_max_diff"] == pytest.approx(0.2)
    assert found["outputs_mean_diff"] == pytest.approx(0.075)
    assert found["features_max_diff"] == found["features_mean_diff"] == 0.5
    assert (found["flips"], found["flip_share"]) == (0, 0.0)
    assert found["rank_agreement"] == 1.0


def test_a_flip_is_a_window_on_the_other_side_of_the_threshold():
    assert figures([0.5, 0.51, 0.2], [0.49, 0.9, 0.3])["flips"] == 1
    assert figures([0.499, 0.51, 0.2], [0.5, 0.9, 0.3])["flips"] == 1
    assert figures([0.5, 0.51, 0.2], [0.5, 0.9, 0.3])["flips"] == 0


def test_golden_windows_are_no_second_vote():
    wanted = truth([0.1, 0.9, 0.6, 0.6], golden=1)
    found = measure(Answers(wanted.features, 1 - wanted.outputs, None), wanted, SPEC, fused=False)
    assert (found["windows"], found["flips"], found["flip_share"]) == (3, 3, 1.0)


def test_a_wrong_kind_of_answer_is_refused():
    wanted = truth([0.1, 0.2])
    with pytest.raises(ConversionError, match="frame"):
        measure(Answers(wanted.features, wanted.outputs, np.zeros((2, 4, 1), np.float32)), wanted, SPEC, fused=False)


@pytest.mark.parametrize(
    ("precision", "ours", "said"),
    [
        ("fp16", [0.1049, 0.9], []),
        ("fp16", [0.1051, 0.9], ["outputs: largest difference 0.0051, allowed 0.005"]),
        ("fp16", [float("nan"), 0.9], ["largest difference nan", "nothing"]),
        ("int8", [0.13, 0.9], []),
        ("int8", [0.15, 0.9], ["outputs: mean difference 0.025, allowed 0.02"]),
        ("int8", [0.1, 0.4], ["mean difference", "labels: 1 of 2 windows flip"]),
    ],
)
def test_each_limit_is_held(precision, ours, said):
    found = list(objections(figures(ours, [0.1, 0.9]), GATES[precision]))
    assert bool(found) == bool(said)
    assert not said or said[0] in found[0]


def test_what_rounds_to_the_limit_is_beyond_it():
    assert list(objections(figures([0.10502, 0.9], [0.1, 0.9]), GATES["fp16"]))
    assert not list(objections(figures([0.10498, 0.9], [0.1, 0.9]), GATES["fp16"]))


def test_scores_of_frames_are_held_to_the_same_limits():
    wanted = replace(truth([0.1, 0.9]), frame_outputs=np.full((2, 4, 1), 0.5, np.float32))
    found = Answers(wanted.features, wanted.outputs, wanted.frame_outputs + np.float32(0.03))
    for precision, what in (("fp16", "largest"), ("int8", "mean")):
        (said,) = objections(measure(found, wanted, SPEC, fused=False), GATES[precision])
        assert said.startswith(f"frame_outputs: {what} difference 0.03, allowed")


def test_a_flip_alone_is_enough():
    scores = np.linspace(0.01, 0.99, 100)
    scores[49] = 0.498
    ours = scores.copy()
    ours[49] = 0.501
    (said,) = objections(figures(ours, scores), Gate(max=5e-3, mean=None, flips=0.0))
    assert said.startswith("labels: 1 of 100 windows flip")
    assert not list(objections(figures(ours, scores), Gate(max=5e-3, mean=None, flips=0.01)))


def test_a_user_sets_single_limits():
    gates = parse_gates({"int8.mean": "0.03", "fp16.flips": "0.01", "int8.max": "0.2"})
    assert gates["int8"] == Gate(max=0.2, mean=0.03, flips=GATES["int8"].flips)
    assert gates["fp16"] == Gate(max=GATES["fp16"].max, mean=None, flips=0.01)
    assert parse_gates({}) == dict(GATES)


@pytest.mark.parametrize("given", [{"int4.mean": "0.1"}, {"mean": "0.1"}, {"int8.mean": "much"}, {"int8.mean": "-1"},
                                   {"int8.mean": "nan"}, {"fp16.max": "2"}])  # fmt: skip
def test_a_wrong_limit_is_refused(given):
    with pytest.raises(InvalidInput, match="gate"):
        parse_gates(given)


def test_ranks_agree_where_the_order_does():
    assert rank_agreement(np.array([0.1, 0.2, 0.9]), np.array([0.3, 0.4, 0.5])) == 1.0
    assert rank_agreement(np.array([0.1, 0.2, 0.9]), np.array([0.5, 0.4, 0.3])) == -1.0
    assert rank_agreement(np.array([0.1, 0.1]), np.array([0.5, 0.4])) is None
    # By hand: ranks 1 2.5 2.5 4 against 1 2 3 4; covariance 4.5, variances 4.5 and 5.
    assert rank_agreement(np.array([1.0, 2, 2, 4]), np.array([1.0, 2, 3, 4])) == pytest.approx(0.948683)


@given(arrays(np.float64, 12, elements=st.floats(0, 1, width=16)))
def test_rank_agreement_is_between_minus_one_and_one_and_blind_to_scale(scores):
    found = rank_agreement(scores, scores**3)
    assert found is None or found <= 1.0
    # Cubing may make tiny different scores equal, never change their order.
    assert found is None or found > 0
