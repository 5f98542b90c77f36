"""From a bundle to proved engines in the cache, on a TensorRT double of seven versions over a CUDA double."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

import pytest

from deepfake_edge.cuda.device import open_device
from deepfake_edge.engines.build import build_engines
from deepfake_edge.engines.identity import parts_of, platform_of
from deepfake_edge.engines.options import BatchProfile, BuildOptions
from deepfake_edge.engines.store import EngineStore
from deepfake_edge.errors import BundleError, EngineMismatch, InferenceError, InvalidInput, OutOfDeviceMemory
from deepfake_edge.runtimes.trt import TensorRtNetwork
from doubles.tensorrt import install
from fakes import bright_means_fake

SMALL = BuildOptions(BatchProfile(1, 2, 5), workspace_bytes=1024**2)


def build(bundle, device, precision=None, options=SMALL, progress=None):
    def network(plan, title):
        return TensorRtNetwork(plan, device, name=title, lanes=1, graphs=False)

    return build_engines(bundle, precision, options, device, network, progress)


def found(bundle, device, precision=None):
    """The bundle's engines in the cache, by part."""
    platform = platform_of(device.facts)
    return {part.name: EngineStore().find(part.identity(platform)) for part in parts_of(bundle, precision)}


@pytest.fixture
def newest(monkeypatch, cuda_double):
    """The newest TensorRT alone, where its version makes no difference."""
    return install(monkeypatch, "11.4", cuda_double)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_engines_are_built_proved_and_found_again(tensorrt_double, device, clip_bundle, precision):
    report = build(clip_bundle, device, precision)
    assert [(engine.sidecar.part, engine.built) for engine in report.engines] == [("backbone", True), ("head", True)]
    assert [engine.sidecar.identity.precision for engine in report.engines] == [precision, "fp32"]
    for engine in report.engines:
        assert engine.sidecar.gate["own_max_diff"] <= engine.sidecar.gate["tolerance"]
        assert list(engine.sidecar.gate["by_batch"]) == ["1", "2", "5"]
        assert engine.sidecar.bundle == clip_bundle.name
        assert engine.path.stat().st_size == engine.sidecar.plan_bytes
    assert all(found(clip_bundle, device, precision).values())
    again = build(clip_bundle, device, precision)
    assert again.up_to_date
    assert len(tensorrt_double.builds) == 2
    assert [engine.sidecar for engine in again.engines] == [engine.sidecar for engine in report.engines]


@pytest.mark.parametrize("kind", [{}, {"frames": 4, "sample_fps": 10.0, "fused": True}])
def test_a_model_of_one_network_has_one_engine(newest, device, kind):
    report = build(bright_means_fake(**kind), device)
    assert [engine.sidecar.part for engine in report.engines] == ["head" if kind else "backbone"]


def test_the_head_is_shared_between_precisions_and_timings_between_builds(newest, device, clip_bundle):
    build(clip_bundle, device, "fp32")
    report = build(clip_bundle, device, "fp16")
    assert [engine.built for engine in report.engines] == [True, False]
    build(clip_bundle, device, "fp32", replace(SMALL, force=True))
    assert [item.timing_misses for item in newest.builds[-2:]] == [0, 0]


@pytest.mark.parametrize(
    ("options", "built"),
    [
        (SMALL, 0),
        (replace(SMALL, workspace_bytes=None), 0),
        (replace(SMALL, force=True), 2),
        (replace(SMALL, batch=BatchProfile(1, 2, 4)), 2),
        (replace(SMALL, workspace_bytes=2 * 1024**2), 2),
    ],
)
def test_what_is_there_is_built_again_only_where_something_else_is_asked_for(
    newest, device, clip_bundle, options, built
):
    build(clip_bundle, device)
    before = len(newest.builds)
    report = build(clip_bundle, device, options=options)
    assert len(newest.builds) - before == built
    assert report.up_to_date is (built == 0)
    assert [engine.sidecar.batch for engine in report.engines] == [options.batch] * 2


def test_another_driver_finds_nothing_and_says_why(newest, clip_bundle, cuda_double):
    with open_device(0) as device:
        build(clip_bundle, device)
        was = device.facts.driver_version
    cuda_double.facts(driver_version="12.8")
    with open_device(0) as device:
        assert set(found(clip_bundle, device).values()) == {None}
        identity = parts_of(clip_bundle, None)[0].identity(platform_of(device.facts))
        assert f"with a driver for CUDA {was}, this is one for 12.8" in EngineStore().why_not(identity)
        assert not build(clip_bundle, device).up_to_date


def test_another_tensorrt_finds_nothing_and_says_why(device, clip_bundle, monkeypatch, cuda_double):
    install(monkeypatch, "10.3", cuda_double)
    build(clip_bundle, device)
    install(monkeypatch, "10.7", cuda_double)
    assert set(found(clip_bundle, device).values()) == {None}
    identity = parts_of(clip_bundle, None)[0].identity(platform_of(device.facts))
    assert "with TensorRT 10.3.0, this is 10.7.0; build it again" in EngineStore().why_not(identity)


def test_a_damaged_engine_is_built_again(newest, device, clip_bundle):
    path = build(clip_bundle, device).engines[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(EngineMismatch, match="is damaged"):
        found(clip_bundle, device)
    assert [engine.built for engine in build(clip_bundle, device).engines] == [True, False]
    assert all(found(clip_bundle, device).values())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_wrong_engine_is_not_kept(tensorrt_double, device, clip_bundle, precision, cache):
    tensorrt_double.fail("wrong_numbers", times=None, change=lambda _, values: values + values.dtype.type(0.2))
    with pytest.raises(InferenceError, match=rf"the {precision} engines are not kept: on this GPU, at batch 1"):
        build(clip_bundle, device, precision)
    assert not list(cache.glob("*.engine"))
    assert not list(cache.glob("*.json"))
    assert list(cache.glob("timing-*"))


def test_a_forgotten_tf32_is_caught_by_the_gate(tensorrt_double, device, fine_bundle, monkeypatch):
    build(fine_bundle, device)
    monkeypatch.setattr("doubles.tensorrt.config.BuilderConfig.clear_flag", lambda *_: None)
    with pytest.raises(InferenceError, match="the fp32 engines are not kept"):
        build(fine_bundle, device, options=replace(SMALL, force=True))
    assert ["TF32" in made.flags for made in tensorrt_double.builds] == [False, True]


@pytest.mark.parametrize("part", [0, 1])
def test_a_failing_part_leaves_nothing_and_the_next_build_is_whole(newest, device, clip_bundle, cache, part):
    newest.fail("build", after=part)
    with pytest.raises(InferenceError, match=f"clip {('backbone', 'head')[part]}"):
        build(replace(clip_bundle, name="clip"), device)
    assert not list(cache.glob("*.engine"))
    assert not build(clip_bundle, device).up_to_date


def test_memory_that_does_not_suffice_to_prove_is_told(newest, device, clip_bundle, cache):
    newest.fail("out_of_memory:create_execution_context")
    with pytest.raises(OutOfDeviceMemory):
        build(clip_bundle, device)
    assert not list(cache.glob("*.engine"))


def test_bf16_and_what_the_bundle_lacks_are_refused_before_anything_is_built(newest, device, clip_bundle):
    with pytest.raises(InvalidInput, match="bf16 is computed by openvino alone"):
        build(clip_bundle, device, "bf16")
    with pytest.raises(InvalidInput, match="this bundle has fp32"):
        build(bright_means_fake(), device, "fp16")
    assert not newest.builds


def test_a_cache_that_cannot_be_written_is_found_before_the_build(newest, device, clip_bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path / "file"))
    with pytest.raises(BundleError, match="cannot be written"):
        build(clip_bundle, device)
    assert not newest.builds


def test_a_disk_too_small_is_found_before_the_build(newest, device, clip_bundle, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1024}))
    with pytest.raises(BundleError, match="64 MiB, 0 MiB are free"):
        build(clip_bundle, device)
    assert not newest.builds


def test_ctrl_c_leaves_no_engine(newest, device, clip_bundle, cache, monkeypatch):
    monkeypatch.setattr("deepfake_edge.engines.monitor._LOOK_EVERY_S", 0.01)
    newest.slow_down(0.05)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(clip_bundle, device, progress=interrupt)
    assert not list(cache.glob("*.engine"))
    newest.slow_down(0.0)
    assert not build(clip_bundle, device).up_to_date


def test_of_two_builds_at_once_one_waits_and_finds_the_others_engines(newest, device, clip_bundle, caplog):
    caplog.set_level(logging.INFO)
    newest.slow_down(0.05)
    reports = []
    threads = [threading.Thread(target=lambda: reports.append(build(clip_bundle, device))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(report.up_to_date for report in reports) == [False, True]
    assert len(newest.builds) == 2
    assert "waiting for it" in caplog.text
