"""The search for the layers that go back to float32; networks are stood in for by the names of their lowered layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_edge.converters.precision.graph import Layer
from deepfake_edge.converters.precision.mixed import search


def layers(count: int) -> list[Layer]:
    return [Layer(f"layer{number}", "Conv", False, 100 + number) for number in range(count)]


def build(names) -> bytes:
    return ",".join(names).encode()


class Scale:
    """Each layer loses something; the gate passes what loses at most `allowed` in all."""

    def __init__(self, losses: dict[str, float], allowed: float) -> None:
        self.losses, self.allowed, self.judged = losses, allowed, 0

    def loss(self, graph: bytes) -> float:
        return sum(self.losses.get(name, 0.0) for name in graph.decode().split(","))

    def judge(self, graph: bytes):
        self.judged += 1
        lost = self.loss(graph)
        return {"outputs_mean_diff": lost}, [] if lost <= self.allowed else [f"loses {lost}"]


def run(count: int, losses: dict[str, float], allowed: float):
    scale = Scale(losses, allowed)
    return search(layers(count), build, scale.judge, scale.loss, None), scale


def test_what_passes_at_once_is_left_alone():
    found, scale = run(30, {"layer3": 0.1}, 1.0)
    assert len(found.lowered) == 30
    assert (found.put_back, found.objections, scale.judged) == ((), [], 1)


def test_only_the_group_that_loses_goes_back():
    found, _ = run(36, {"layer20": 5.0}, 1.0)
    (group,) = found.put_back
    assert "layer20" in group.layers
    assert group.loss == 5.0
    assert len(group.layers) == 3
    assert set(found.lowered) | set(group.layers) == {layer.name for layer in layers(36)}
    assert found.graph == build(found.lowered)
    assert not found.objections


def test_the_most_sensitive_group_goes_first():
    found, _ = run(12, {"layer2": 5.0, "layer7": 9.0, "layer9": 0.5}, 1.0)
    assert [group.layers for group in found.put_back] == [("layer7",), ("layer2",)]
    assert found.graph == build(found.lowered)
    assert [group.multiply_adds for group in found.put_back] == pytest.approx([107 / 1266, 102 / 1266], abs=1e-4)


def test_what_went_back_for_nothing_is_lowered_again():
    """Alone, layer 1 loses more; but only layer 5 is in the way of the whole."""
    alone = {"layer1": 9.0, "layer5": 5.0, "layer8": 7.0}
    scale = Scale(alone, 1.0)

    def judge(graph: bytes):
        return scale.judge(b"layer5" if b"layer5" in graph else b"")

    found = search(layers(12), build, judge, scale.loss, None)
    assert [group.layers for group in found.put_back] == [("layer5",)]
    assert {"layer1", "layer8"} <= set(found.lowered)
    assert found.graph == build(found.lowered)
    assert not found.objections


def test_where_nothing_helps_it_says_so_and_names_the_worst():
    found, _ = run(6, {f"layer{number}": 1.0 + number for number in range(6)}, 0.5)
    assert found.objections
    assert "layers that lose most: layer5, layer4" in found.worst


@given(
    st.integers(1, 40).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.dictionaries(st.integers(0, count - 1), st.floats(0, 10), max_size=count),
            st.floats(0.1, 20),
        )
    )
)
def test_every_layer_is_either_lowered_or_put_back_once(case):
    count, losses, allowed = case
    found, _ = run(count, {f"layer{number}": loss for number, loss in losses.items()}, allowed)
    back = [name for group in found.put_back for name in group.layers]
    assert sorted([*found.lowered, *back]) == sorted(layer.name for layer in layers(count))
    assert [group.loss for group in found.put_back] == sorted((g.loss for g in found.put_back), reverse=True)
