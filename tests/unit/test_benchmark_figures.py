"""Figures of a benchmark: percentiles, what is as fast as what, and which row is recommended."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_edge.benchmarks.figures import EXACTNESS, Calls, Row, recommend
from deepfake_edge.errors import InferenceError

MILLISECONDS = st.floats(0.01, 1e4)
ROUNDS = st.lists(st.lists(MILLISECONDS, min_size=1, max_size=5).map(tuple), min_size=3, max_size=3).map(tuple)


def row(runtime: str, precision: str, *rounds_ms: float, passed: bool = True) -> Row:
    calls = Calls(1, tuple((time,) for time in rounds_ms))
    return Row(runtime, precision, replay={"passed": passed}, calls=(calls,))


@st.composite
def tables(draw) -> list[Row]:
    pairs = st.tuples(st.sampled_from(("openvino", "onnxruntime")), st.sampled_from(EXACTNESS))
    rows = []
    for runtime, precision in draw(st.lists(pairs, unique=True, max_size=8)):
        calls = (Calls(1, draw(ROUNDS)), Calls(4, draw(ROUNDS)))
        failed = InferenceError("died") if draw(st.integers(0, 3)) == 0 else None
        rows.append(Row(runtime, precision, replay={"passed": draw(st.booleans())}, calls=calls, error=failed))
    return rows


@given(tables())
def test_the_recommended_row_passes_and_none_is_faster_beyond_noise_or_more_exact_within_it(rows):
    found = recommend(rows)
    passing = [item for item in rows if item.passed]
    assert (found is None) == (not passing)
    if found is None:
        return
    assert found.row in passing
    fastest = min(passing, key=lambda item: item.calls[0].p50_ms).calls[0]
    assert found.row.calls[0].as_fast_as(fastest)
    for other in passing:
        if other.calls[0].as_fast_as(fastest):
            assert EXACTNESS.index(found.row.precision) <= EXACTNESS.index(other.precision)
    assert found.row.name in found.reason


@given(tables())
def test_the_order_of_the_rows_decides_nothing(rows):
    found, turned = recommend(rows), recommend(rows[::-1])
    assert (found is None) == (turned is None)
    if found is not None and turned is not None:
        times = [item.calls[0].p50_ms for item in rows if item.passed]
        assert found.row is turned.row or len(set(times)) < len(times)


def test_a_tie_goes_to_the_more_exact():
    rows = [row("openvino", "int8", 10, 10, 10), row("openvino", "bf16", 10.4, 10.4, 10.4)]
    found = recommend(rows)
    assert found is not None
    assert found.row.precision == "bf16"
    assert "within noise" in found.reason
    assert "openvino int8, 10 ms" in found.reason


def test_a_round_that_was_hit_alone_makes_no_tie():
    slow, fast = row("openvino", "fp32", 20, 20, 20), row("openvino", "int8", 10, 25, 10)
    found = recommend([slow, fast])
    assert found is not None
    assert found.row is fast


@pytest.mark.parametrize(
    ("first", "second", "as_fast"),
    [
        ((20, 60, 21), (10, 30, 10.5), False),  # a round that was hit as a whole
        ((12, 60, 12), (10, 50, 10), False),
        ((13, 9, 11), (10, 10, 10), True),  # ratios that vary by more than they are apart
        ((37, 25, 45), (10, 10, 10), False),
        ((10.5, 10.5, 10.5), (10, 10, 10), True),
        ((10.6, 10.6, 10.6), (10, 10, 10), False),
    ],
)
def test_as_fast_is_beyond_the_noise_of_these_very_rounds(first, second, as_fast):
    pair = row("openvino", "fp32", *first), row("openvino", "int8", *second)
    assert pair[0].calls[0].as_fast_as(pair[1].calls[0]) is as_fast


def test_the_fastest_is_not_recommended_where_it_does_not_pass():
    rows = [row("onnxruntime", "int8", 5, 5, 5, passed=False), row("onnxruntime", "fp32", 20, 20, 20)]
    found = recommend(rows)
    assert found is not None
    assert found.row.precision == "fp32"
    assert found.reason.endswith("the only one that passes verify here")
    assert recommend(rows[:1]) is None


@given(st.lists(MILLISECONDS, min_size=1, max_size=40), st.integers(0, 100))
def test_percentiles_lie_between_the_two_nearest_calls(times, percent):
    found = Calls(1, (tuple(times),)).percentile_ms(percent)
    ordered = sorted(times)
    place = percent / 100 * (len(times) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    assert found == pytest.approx(low + (high - low) * (place - math.floor(place)))


def test_percentiles_and_speed_of_a_hundred_and_one_calls():
    calls = Calls(4, (tuple(range(50)), (), tuple(range(50, 101))))
    assert [calls.percentile_ms(percent) for percent in (50, 90, 99)] == [50, 90, 99]
    assert calls.per_second == 4 * 1000 / 50


def test_the_best_batch_has_the_most_crops_a_second():
    calls = tuple(Calls(batch, ((time,),)) for batch, time in ((1, 10.0), (4, 30.0), (10, 90.0)))
    assert Row("openvino", "fp32", calls=calls).best.batch == 4


def test_a_failed_row_says_why_and_has_no_figures():
    found = Row("openvino", "int8", error=InferenceError("its process died")).to_json()
    assert found == {
        "runtime": "openvino",
        "precision": "int8",
        "passed": False,
        "error": {"type": "InferenceError", "message": "its process died"},
    }
