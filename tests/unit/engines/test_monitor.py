"""How far a build is, as TensorRT reports it."""

from __future__ import annotations

import pytest

from deepfake_edge.engines.monitor import Monitor, monitor, watched


def test_phases_within_phases_are_one_share():
    told = Monitor("engine", asks=True)
    assert (told.stage().share, told.stage().phase) == (None, "")
    told.phase_start("build", None, 4)
    told.step_complete("build", 0)
    told.phase_start("tactics", "build", 10)
    for step in range(5):
        told.step_complete("tactics", step)
    assert (told.stage().share, told.stage().phase) == (pytest.approx((1 + 0.5) / 4), "tactics")
    told.phase_finish("tactics")
    # The step that the tactics belong to is not yet told; what was shown is not taken back.
    assert (told.stage().share, told.stage().phase) == (pytest.approx((1 + 0.5) / 4), "build")
    told.step_complete("build", 1)
    assert told.stage().share == pytest.approx(2 / 4)
    told.phase_finish("build")
    assert told.stage().share is None


@pytest.mark.parametrize(("steps", "done"), [(0, 0), (1, 7)])
def test_odd_numbers_stay_within_bounds(steps, done):
    told = Monitor("engine", asks=True)
    told.phase_start("build", None, steps)
    told.step_complete("build", done)
    assert 0.0 <= told.stage().share <= 1.0


def test_it_says_no_once_it_is_ended():
    told = Monitor("engine", asks=True)
    told.phase_start("build", None, 2)
    assert told.step_complete("build", 0) is True
    told.end()
    assert told.step_complete("build", 1) is False


def test_each_tensorrt_gets_what_it_takes(tensorrt_double):
    made = monitor(tensorrt_double.module, "engine")
    assert made.asks is (tensorrt_double.version != "8.6")
    if made.asks:
        assert isinstance(made, tensorrt_double.module.IProgressMonitor)


def test_what_work_raises_is_raised_and_what_it_gives_is_given():
    assert watched(lambda: 3, Monitor("engine", asks=True), None) == 3

    def fail():
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        watched(fail, Monitor("engine", asks=True), None)
