from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.preprocess import crop_batch
from deepfake_edge.spec import ClipSpec
from deepfake_edge.training.feeding.clip_feed import ClipFeed
from deepfake_edge.training.feeding.options import Augmentation, FeedOptions
from deepfake_edge.training.feeding.still_feed import StillFeed
from deepfake_edge.training.preparing.prepared import read_prepared

# Without H.264, which needs PyAV; its own test has it.
AUGMENT = replace(Augmentation(), video=0.0)
STILL = Augmentation.none()


def feed(prepared, spec, **options):
    return ClipFeed(prepared.of("train"), spec, FeedOptions(**{"batch": 4, "augment": AUGMENT, **options}))


def same(first, second):
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def epoch_of(source, number):
    return [source.batch(number, step) for step in range(source.steps)]


def test_a_batch_depends_on_seed_epoch_and_step_alone(prepared, spec):
    options = {"windows": 3, "self_blended": 0.5}
    one, other = feed(prepared, spec, **options), feed(prepared, spec, **options, cache_mb=0)
    assert one.steps == 3
    ahead = [one.batch(epoch, step) for epoch in (0, 1) for step in range(3)]
    back = [other.batch(epoch, step) for epoch in (1, 0) for step in (2, 1, 0)][::-1]
    assert all(same(*pair) for pair in zip(ahead, back, strict=True))
    inputs = [batch[0] for batch in ahead]
    assert not any(np.array_equal(inputs[i], inputs[j]) for i in range(6) for j in range(i))
    assert not same(ahead[0], feed(prepared, spec, **options, seed=1).batch(0, 0))


@pytest.mark.parametrize("frames", [4, 1])
def test_arrays_are_as_keras_takes_them(prepared, spec, frames):
    spec = replace(spec, clip=ClipSpec(frames, 12.0))
    inputs, labels, weights = feed(prepared, spec).batch(0, 0)
    assert inputs.shape == ((4, 4, 32, 32, 3) if frames == 4 else (4, 32, 32, 3))
    assert (inputs.dtype, labels.dtype, weights.dtype) == (np.float32,) * 3
    assert weights.tolist() == [1.0] * 4
    assert -1 <= inputs.min() < -0.3 < 0.3 < inputs.max() <= 1


@pytest.mark.parametrize(
    ("classes", "real", "fake"),
    [
        (("real", "fake"), [1, 0], [0, 1]),
        (("fake", "real"), [0, 1], [1, 0]),
        (("fake",), [0], [1]),
        (("real",), [1], [0]),
    ],
)
@pytest.mark.parametrize("blended", [0.0, 1.0])
def test_labels_stand_in_the_order_of_the_classes(prepared, spec, classes, real, fake, blended):
    spec = replace(spec, classes=classes, activation="softmax" if len(classes) == 2 else "sigmoid")
    source = feed(prepared, spec, self_blended=blended, augment=STILL)
    labels = np.concatenate([batch[1] for batch in epoch_of(source, 0)]).tolist()
    assert sorted(labels) == sorted([real, real, fake, fake])
    if blended:
        assert labels == [real, fake, real, fake]


def test_a_window_without_augmentation_is_what_inference_cuts(prepared, spec):
    source = feed(prepared, spec, augment=STILL, batch=1, balance="none")
    cut = {}
    for clip in prepared.of("train"):
        pairs = zip(clip.pictures(), clip.boxes, strict=True)
        cut[clip.id] = np.concatenate(
            [crop_batch(pixels, np.asarray([box], np.float32), spec.crop) for pixels, box in pairs]
        ).transpose(0, 2, 3, 1)
    found = []
    for inputs, labels, _ in epoch_of(source, 0):
        for name, crops in cut.items():
            windows = [crops[start : start + 4] for start in range(len(crops) - 3)]
            if any(np.array_equal(inputs[0], window) for window in windows):
                found.append(name)
                assert labels[0].tolist() == ([0, 1] if "fake" in name else [1, 0])
    assert sorted(found) == sorted(cut)


def test_a_blend_and_its_real_window_are_changed_alike(prepared, spec):
    gentle = replace(Augmentation.none(), strength=1.0, crop=1.0, flip=0.5, colour=1.0, noise=1.0)
    source = feed(prepared, spec, self_blended=1.0, augment=gentle, windows=8, blend_strength=0.0, batch=2)
    within, between = [], []
    batches = [inputs for inputs, _, _ in epoch_of(source, 0)]
    for (real, fake), (other, _) in pairwise(batches):
        assert not np.array_equal(real, fake)
        within.append(np.abs(real - fake).mean())
        between.append(np.abs(real - other).mean())
    assert max(within) < np.median(between) / 2


def test_weights_go_by_label(prepared, spec):
    clips = [clip for clip in prepared.of("train") if clip.entry.label == "real"] + list(prepared.of("train"))[:1]
    source = ClipFeed(clips, spec, FeedOptions(batch=3, balance="weights", augment=STILL))
    _, labels, weights = source.batch(0, 0)
    assert weights[labels[:, 1] == 1].tolist() == [1.5]
    assert weights[labels[:, 0] == 1].tolist() == [0.75, 0.75]


def test_clips_of_other_splits_are_refused(prepared, spec):
    for split in ("val", "test"):
        with pytest.raises(InvalidInput, match=f"is of {split}; only clips of train"):
            ClipFeed(prepared.of("train") + prepared.of(split), spec, FeedOptions())


def test_video_is_part_of_an_epoch(prepared, spec):
    pytest.importorskip("av")
    only = replace(STILL, strength=1.0, video=1.0)
    coded, plain = (feed(prepared, spec, augment=augment) for augment in (only, replace(only, video=1e-9)))
    assert same(coded.batch(0, 0), coded.batch(0, 0))
    assert not same(coded.batch(0, 0), plain.batch(0, 0))


def test_the_dataset_is_the_batches_in_order(prepared, spec):
    pytest.importorskip("tensorflow")
    source = feed(prepared, spec, windows=6, self_blended=0.5)
    for first in (0, 2, source.steps):
        dataset = source.dataset(1, first)
        found = [tuple(part.numpy() for part in batch) for batch in dataset]
        assert len(found) == source.steps - first
        assert all(same(batch, source.batch(1, first + place)) for place, batch in enumerate(found))
        shapes = [tuple(part.shape) for part in dataset.element_spec]
        assert shapes == [(4, 4, 32, 32, 3), (4, 2), (4,)]


def test_a_picture_that_cannot_be_read_is_a_typed_error(prepared, spec, tmp_path):
    pytest.importorskip("tensorflow")
    folder = tmp_path / "prepared"
    shutil.copytree(prepared.folder, folder)
    for path in folder.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    source = feed(read_prepared(folder), spec)
    with pytest.raises(SourceError, match=r"\.png"), source.typed_errors():
        list(source.dataset(0))
    with pytest.raises(SourceError, match=r"\.png"):
        source.batch(0, 0)


def test_still_windows_are_the_same_at_every_call(prepared, spec):
    pytest.importorskip("tensorflow")
    source = StillFeed(prepared.of("val"), spec, FeedOptions(batch=5, self_blended=0.5), windows_a_clip=3)
    assert (len(source.windows), source.steps) == (18, 4)
    batches = [source.batch(step) for step in range(source.steps)]
    found = [tuple(part.numpy() for part in batch) for batch in source.dataset()]
    assert all(same(*pair) for pair in zip(batches, found, strict=True))
    labels = np.concatenate([labels for _, labels, _ in batches])
    assert labels[:, 1].tolist() == [float(window.label == "fake") for window in source.windows]
    assert len({(window.name, window.places) for window in source.windows}) == 18
    crops = np.concatenate([inputs for inputs, _, _ in batches])
    by_name = {(window.name, window.places): crop for window, crop in zip(source.windows, crops, strict=True)}
    for window in source.windows:
        if window.blended:
            real, fake = (by_name[name, window.places] for name in (window.clip.id, window.name))
            assert 0.005 < np.abs(real - fake).mean() < 0.5


def test_still_windows_show_what_is_trained_on(prepared, spec):
    def names(share):
        return {window.name for window in StillFeed(prepared.of("val"), spec, FeedOptions(self_blended=share)).windows}

    reals, fakes = ({f"made-{label}-00{number}" for number in (1, 4)} for label in ("real", "fake"))
    blends = {f"{name}, self-blended" for name in reals}
    assert names(0.0) == reals | fakes
    assert names(0.5) == reals | fakes | blends
    assert names(1.0) == reals | blends


def test_a_blend_of_a_clip_does_not_depend_on_the_others(prepared, spec):
    clips = [clip for clip in prepared.of("val") if clip.entry.label == "real"]
    options = FeedOptions(self_blended=1.0, batch=100)
    both, one = (StillFeed(shown, spec, options) for shown in (clips, clips[1:]))
    crops = {window.name: crop for window, crop in zip(both.windows, both.batch(0)[0], strict=True)}
    again = {window.name: crop for window, crop in zip(one.windows, one.batch(0)[0], strict=True)}
    assert len(again) == 2
    assert all(np.array_equal(crop, crops[name]) for name, crop in again.items())
