"""What an engine computes, over doubles of CUDA and TensorRT, is what ONNX Runtime computes: to the last bit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from onnx import TensorProto

from deepfake_edge.errors import EngineMismatch, InferenceError, InvalidInput
from deepfake_edge.protocols import TensorSpec
from unit.trt.engines import MOST, ROW, exact_graph, rows

WAIT_S = 30


def assert_same(found, wanted):
    assert list(found) == list(wanted)
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == np.float32


def stream_calls(engines):
    """What was called on streams, without asking them what they do."""
    asking = "cuStreamIsCapturing"
    return [name for name in engines.cuda.calls if name.startswith(("cuStream", "cuMemcpy")) and name != asking]


def test_ports(engines):
    network = engines.network()
    assert network.inputs == (TensorSpec("crops", (None, *ROW), "float32"),)
    assert network.outputs == (
        TensorSpec("features", (None, 5), "float32"),
        TensorSpec("mirror", (None, *ROW), "float32"),
    )
    assert network.most_rows == MOST


@pytest.mark.parametrize("graphs", [True, False], ids=["graphs", "plain"])
def test_every_batch_size_again_and_again(engines, expected, graphs):
    network = engines.network(graphs=graphs)
    for turn in range(3):
        for count in range(1, MOST + 4):
            crops = rows(count, turn)
            assert_same(network.run({"crops": crops}), expected(crops))
    captured = engines.cuda.calls.count("cuStreamBeginCapture_v2")
    assert captured == (MOST if graphs else 0)


def test_a_batch_below_the_least_is_padded_with_zeros(engines, expected):
    network = engines.network(engines.plan(batch=(3, 4, MOST)))
    network.run({"crops": rows(MOST)})
    for count in (1, 2, 3, MOST + 1):
        crops = rows(count, 7)
        assert_same(network.run({"crops": crops}), expected(crops))


def test_what_is_padded_are_zeros_and_not_an_earlier_calls_rows(engines):
    network = engines.network(engines.plan(batch=(3, 4, MOST)))
    network.run({"crops": rows(MOST)})
    network.run({"crops": rows(1)})
    (lane,) = network._merger._free
    (buffer,) = lane._inputs
    held = np.frombuffer(engines.cuda.read(buffer.address, 3 * rows(1).nbytes), np.float32).reshape(3, *ROW)
    np.testing.assert_array_equal(held, np.concatenate([rows(1), np.zeros((2, *ROW), np.float32)]))


def test_what_becomes_a_graph_has_been_executed_and_waited_for(engines):
    network = engines.network()
    for count in (2, 5, 2):
        network.run({"crops": rows(count)})
    calls = stream_calls(engines)
    begun = [place for place, name in enumerate(calls) if name == "cuStreamBeginCapture_v2"]
    assert [calls[place - 1] for place in begun] == ["cuStreamSynchronize"] * 2


def test_no_more_than_eight_graphs_a_lane(engines, expected):
    network = engines.network(engines.plan(batch=(1, 4, 12)), lanes=1)
    for _ in range(2):
        for count in range(1, 13):
            assert_same(network.run({"crops": rows(count)}), expected(rows(count)))
    assert engines.cuda.live["graphs"] == 8


def test_a_profile_of_one_size(engines, expected):
    network = engines.network(engines.plan(batch=(4, 4, 4)))
    for count in (1, 4, 5, 9):
        crops = rows(count)
        assert_same(network.run({"crops": crops}), expected(crops))


def test_two_inputs(engines, expected):
    network = engines.network(engines.plan(inputs=("left", "right")))
    for count in (1, 3, MOST + 2):
        left, right = rows(count, 1), rows(count, 2)
        assert_same(network.run({"right": right, "left": left}), expected(left + right))


def test_what_is_given_may_lie_in_memory_in_any_order(engines, expected):
    network = engines.network()
    crops = rows(8)[::2].transpose(0, 1, 3, 2)
    assert not crops.flags.c_contiguous
    assert_same(network.run({"crops": crops}), expected(np.ascontiguousarray(crops)))


def test_results_are_the_callers_own(engines, expected):
    network = engines.network()
    first, second = rows(2, 1), rows(2, 2)
    kept = network.run({"crops": first})
    network.run({"crops": second})
    network.close()
    assert_same(kept, expected(first))
    kept["features"][:] = 0


def test_what_does_not_fit_is_refused_by_name(engines):
    network = engines.network()
    with pytest.raises(InferenceError, match="tiny: wanted an input 'crops', found none"):
        network.run({"crop": rows(1)})
    with pytest.raises(InferenceError, match=r"crops: wanted float32 \(None, 3, 2, 2\), got float64 \(1, 3, 2, 2\)"):
        network.run({"crops": rows(1).astype(np.float64)})
    with pytest.raises(InferenceError, match=r"crops: wanted float32 \(None, 3, 2, 2\), got float32 \(1, 3, 2\)"):
        network.run({"crops": rows(1)[..., 0]})
    with pytest.raises(InferenceError, match=r"wanted batches of one size, got \[0\]"):
        network.run({"crops": rows(0)})
    with pytest.raises(InvalidInput, match="lanes: wanted a whole number from 1 on, got 0"):
        engines.network(lanes=0)


def test_batches_of_two_sizes_are_refused(engines):
    network = engines.network(engines.plan(inputs=("left", "right")))
    with pytest.raises(InferenceError, match=r"wanted batches of one size, got \[2, 1\]"):
        network.run({"left": rows(2), "right": rows(1)})


def test_an_engine_of_other_numbers_is_refused(engines):
    with pytest.raises(
        EngineMismatch, match=r"tiny: mirror: wanted rows of float32, the engine has DataType.INT32 rows"
    ):
        engines.network(engines.plan(exact_graph(mirror=TensorProto.INT32)))


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_eight_threads_get_their_own_rows(engines, expected, lanes):
    network = engines.network(lanes=lanes)

    def ask(number):
        for turn in range(50):
            crops = rows(1 + (number + turn) % (MOST + 2), 100 * number + turn)
            assert_same(network.run({"crops": crops}), expected(crops))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask, number) for number in range(8)]:
            done.result(WAIT_S)
    assert engines.cuda.live["streams"] <= lanes


def test_calls_that_find_the_lane_busy_are_one_execution(engines, expected):
    network = engines.network(lanes=1, graphs=False)
    inside, go_on = threading.Event(), threading.Event()

    def fill(address, stream):
        engines.device.copy_to_device(address, rows(1), stream)
        inside.set()
        assert go_on.wait(WAIT_S)

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(network.run_on_device, 1, fill)
        assert inside.wait(WAIT_S)
        before = engines.cuda.calls.count("cuStreamSynchronize")
        calls = {seed: pool.submit(network.run, {"crops": rows(2, seed)}) for seed in range(MOST // 2)}
        while len(network._merger._waiting) < len(calls):
            threading.Event().wait(0.005)
        go_on.set()
        assert_same(first.result(WAIT_S), expected(rows(1)))
        for seed, call in calls.items():
            assert_same(call.result(WAIT_S), expected(rows(2, seed)))
    # The first call's, and one for the three that had waited.
    assert engines.cuda.calls.count("cuStreamSynchronize") == before + 2


def test_rows_that_are_made_on_the_device(engines, expected):
    network = engines.network(engines.plan(batch=(2, 4, MOST)))
    for turn in range(2):
        for count in range(1, MOST + 1):
            crops = rows(count, turn)

            def fill(address, stream, crops=crops):
                engines.device.copy_to_device(address, crops, stream)

            assert_same(network.run_on_device(count, fill), expected(crops))
    for count in (0, MOST + 1):
        with pytest.raises(InvalidInput, match=f"tiny: wanted one input and 1 to {MOST} rows, got 1 and {count}"):
            network.run_on_device(count, fill)


def test_rows_that_are_made_on_the_device_are_computed_alone(engines, expected):
    network = engines.network(lanes=1)
    inside, go_on = threading.Event(), threading.Event()

    def fill(address, stream):
        engines.device.copy_to_device(address, rows(1), stream)
        inside.set()
        assert go_on.wait(WAIT_S)

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(network.run_on_device, 1, fill)]
        assert inside.wait(WAIT_S)
        for work in (
            partial(network.run, {"crops": rows(1)}),
            partial(network.run_on_device, 1, fill),
            partial(network.run, {"crops": rows(1)}),
        ):
            calls.append(pool.submit(work))
            while len(network._merger._waiting) < len(calls) - 1:
                threading.Event().wait(0.005)
        go_on.set()
        for call in calls:
            assert_same(call.result(WAIT_S), expected(rows(1)))


def test_what_fill_raises_comes_through_and_the_lane_goes_on(engines, expected):
    network = engines.network(lanes=1)

    def fill(address, stream):
        engines.device.copy_to_device(address, rows(1), stream)
        raise ValueError("no crops")

    with pytest.raises(ValueError, match="no crops"):
        network.run_on_device(1, fill)
    # Whoever comes next finds the buffers at rest.
    assert stream_calls(engines)[-1] == "cuStreamSynchronize"
    assert_same(network.run({"crops": rows(2)}), expected(rows(2)))


def test_an_engine_of_two_inputs_takes_nothing_from_the_device(engines):
    network = engines.network(engines.plan(inputs=("left", "right")))
    with pytest.raises(InvalidInput, match="tiny: wanted one input and 1 to 6 rows, got 2 and 1"):
        network.run_on_device(1, lambda *_: None)
