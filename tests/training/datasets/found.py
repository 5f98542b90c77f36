"""What is found in a data set."""

from __future__ import annotations

from deepfake_edge.training.datasets.reading import ReadOptions, read_dataset


def read(folder, **options):
    return read_dataset(folder, ReadOptions(**options))


def splits(dataset):
    return {entry.source: entry.split for entry in dataset.entries}


def no_one_is_in_two(dataset):
    seen = {}
    for entry in dataset.entries:
        for name in entry.people:
            assert seen.setdefault((entry.dataset, name), entry.split) == entry.split
    return True
