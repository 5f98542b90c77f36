"""A temperature is found again, moves no window over the threshold, and leaves a bundle's proofs as they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from deepfake_edge.bundle import read_bundle, write_bundle
from deepfake_edge.cli import main
from deepfake_edge.errors import InvalidInput
from deepfake_edge.model import fake_scores
from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.evaluating.bootstrap import Resampling, draws
from deepfake_edge.training.evaluating.calibrated import check_unseen, write_calibrated
from deepfake_edge.training.evaluating.judging import Answer, ClipWindows
from deepfake_edge.training.evaluating.report import make_report
from deepfake_edge.training.evaluating.tables import notes
from deepfake_edge.training.evaluating.temperature import _likeliest, fit_temperature
from fakes import bright_means_fake
from training.evaluating.made import FRAME_SPEC, made_answer, made_clip

HOW = Resampling()


def answers(temperature: float, videos: int = 400, windows: int = 4):
    """Fakes come as often as the true score says; the model's log-odds are `temperature` times the true ones."""
    random = np.random.default_rng(7)
    found = []
    for number in range(videos):
        truth = random.normal(0, 1.5)
        label = "fake" if random.random() < 1 / (1 + np.exp(-truth)) else "real"
        found.append(made_answer(f"{number}", label, [1 / (1 + np.exp(-temperature * truth))] * windows))
    return found


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature):
    fitted = fit_temperature(answers(temperature), FRAME_SPEC, HOW)
    assert fitted.temperature.value == pytest.approx(temperature, rel=0.15)
    assert fitted.after.windows_nll <= fitted.before.windows_nll
    assert fitted.videos == 400
    if temperature == 3.0:
        assert fitted.after.videos_nll < 0.8 * fitted.before.videos_nll
        assert fitted.after.videos_ece < 0.5 * fitted.before.videos_ece


def test_the_interval_is_that_of_temperatures_of_resamples():
    given = answers(3.0, videos=60)
    found = fit_temperature(given, FRAME_SPEC, HOW).temperature
    fake = np.asarray([answer.clip.entry.label == "fake" for answer in given])
    drawn = [
        _likeliest([given[place] for place in np.repeat(np.arange(60), times.astype(int))], FRAME_SPEC)
        for times in islice(draws(fake, np.arange(60), HOW), 50)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    # 50 of the 1000 resamples, each with its own fit.
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.15)
    assert found.low < 3.0 < found.high


@pytest.mark.parametrize(("ends", "said"), [((0.5, 2.5), True), ((1.2, 2.5), False), ((None, None), False)])
def test_a_temperature_that_may_as_well_be_none_is_said(ends, said):
    found = {
        "temperature": {"value": 1.5, "low": ends[0], "high": ends[1], "reason": None}, "model": "m", "flips": 0,
        "videos": 20, "fitted_on": "here, split val", "before": {}, "after": {},
    }  # fmt: skip
    report = make_report({"left_out": []}, [], [], HOW, found)
    assert any("its interval holds 1" in note for note in notes(report)) == said


def test_of_few_videos_there_is_a_temperature_and_no_interval():
    given = [made_answer(f"{label}{score}", label, [score]) for label in ("real", "fake") for score in (0.1, 0.6, 0.8)]
    found = fit_temperature([answer for answer in given if answer.clip.id != "fake0.1"], FRAME_SPEC, HOW).temperature
    assert found.value is not None
    assert (found.low, found.reason) == (None, "no interval: fewer than 5 real and fake videos")


def test_a_clip_without_a_verdict_has_no_part_in_the_fit():
    spec = replace(FRAME_SPEC, clip=ClipSpec())
    silent = [_of_two_crops(f"silent{number}", label) for number, label in enumerate(("real", "fake"))]
    with pytest.raises(InvalidInput, match="wanted clips of both labels with a verdict, found none"):
        fit_temperature(silent, spec, HOW)


def _of_two_crops(name, label):
    """Two windows of single crops: too few for a verdict."""
    clip = made_clip(name, label, (0.0, 0.1))
    windows = ClipWindows(np.arange(2)[:, None], np.asarray([0.0, 0.1]), np.asarray([0.0, 0.1]))
    return Answer(clip, np.arange(2), windows, np.asarray([[0.9], [0.1]], np.float32))


def test_each_video_counts_alike():
    many = [
        made_answer(answer.clip.id, answer.clip.entry.label, answer.outputs[:1, 0].repeat(40 if number % 2 else 1))
        for number, answer in enumerate(answers(3.0))
    ]
    assert fit_temperature(many, FRAME_SPEC, HOW).temperature.value == pytest.approx(
        fit_temperature(answers(3.0), FRAME_SPEC, HOW).temperature.value, rel=1e-3
    )


def test_what_was_fitted_before_does_not_matter_and_no_window_changes_its_label():
    given = answers(3.0)
    plain = fit_temperature(given, replace(FRAME_SPEC, threshold=0.7), HOW)
    warm = replace(FRAME_SPEC, threshold=0.7, temperature=2.0)
    again = fit_temperature(given, warm, HOW)
    assert again.temperature.value == pytest.approx(plain.temperature.value, rel=1e-4)
    outputs = np.concatenate([answer.outputs for answer in given])
    before, after = (fake_scores(outputs, spec) >= spec.threshold for spec in (warm, again.spec))
    assert (before == after).all()
    assert 0 < before.sum() < len(before)


@pytest.mark.parametrize(("pairs", "reason"), [
    ([("real", 0.1), ("real", 0.2)], "only real ones"),
    ([("real", 0.1), ("fake", 0.9)], "every window is right"),
    ([("real", 0.9), ("fake", 0.1)], "no better than chance"),
    ([("real", 0.499), ("fake", 0.501), ("fake", 0.49999)], "down to 0.02, the lower the better"),
])  # fmt: skip
def test_where_there_is_no_temperature_none_is_made_up(pairs, reason):
    with pytest.raises(InvalidInput, match=reason):
        fit_temperature(
            [made_answer(str(number), *pair[:1], [pair[1]]) for number, pair in enumerate(pairs)], FRAME_SPEC, HOW
        )


def test_a_calibrated_bundle_keeps_its_networks_and_its_proofs(tmp_path, capsys):
    source, output = tmp_path / "model.dfe", tmp_path / "calibrated.dfe"
    write_bundle(bright_means_fake(frames=2, sample_fps=10.0), source)
    before = read_bundle(source)
    fitted = fit_temperature(answers(3.0), before.spec, HOW)
    sha256 = write_calibrated(source, output, fitted, "here")
    after = read_bundle(output)
    assert after.sha256 == sha256 == hashlib.sha256(output.read_bytes()).hexdigest()
    assert after.spec == replace(before.spec, temperature=fitted.temperature.value)
    assert (after.variants, after.provenance["temperature"]) == (
        before.variants, f"{fitted.temperature.value:.6g}, fitted on 400 clips of here",
    )  # fmt: skip
    assert main(["-q", "verify", str(output), "--runtime", "onnxruntime", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert found["own_max_diff"] <= 1e-6
    assert main(["inspect", str(output)]) == 0
    assert f"temperature {fitted.temperature.value:g}" in capsys.readouterr().out


def test_clips_that_the_run_trained_on_are_refused(tmp_path, prepared):
    run, source = tmp_path / "run", tmp_path / "model.dfe"
    run.mkdir()
    (run / "best.keras").write_bytes(b"a model")
    (run / "config.json").write_text(json.dumps({"prepared": str(prepared.folder)}))
    of_run = {"source_sha256": hashlib.sha256(b"a model").hexdigest()}
    write_bundle(replace(bright_means_fake(), provenance=of_run), source)
    check_unseen(source, run, prepared, "val")
    with pytest.raises(InvalidInput, match=r"was trained on 4 of these clips \(made-fake-000, "):
        check_unseen(source, run, prepared, "train")
    with pytest.raises(InvalidInput, match="not fitted on the split train"):
        check_unseen(source, None, prepared, "train")
    (run / "config.json").write_text(json.dumps({"prepared": str(tmp_path / "moved")}))
    with pytest.raises(InvalidInput, match=r"trained on clips of .*moved, which is not there now; put it, or a link"):
        check_unseen(source, run, prepared, "val")
    (run / "config.json").write_text("[]")
    with pytest.raises(InvalidInput, match="does not say what was trained on"):
        check_unseen(source, run, prepared, "val")
    (run / "best.keras").write_bytes(b"another")
    with pytest.raises(InvalidInput, match="was not converted from"):
        check_unseen(source, run, prepared, "val")
