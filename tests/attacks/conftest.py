"""What hostile files meet: one way in, a clock, and canaries."""

from __future__ import annotations

import os
import select
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from attacks.forge import Base, Target
from deepfake_edge.converters import ConvertOptions, convert
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop
from fakes import bright_means_fake

MOST_SECONDS = 5.0
_VARIABLE = "DEEPFAKE_EDGE_CANARY"
_OLD_NS, _NEW_NS = 10**18, 10**18 + 10**9


@pytest.fixture(scope="session")
def base(tmp_path_factory) -> Base:
    keras = workshop.keras()
    folder = tmp_path_factory.mktemp("base")
    layers = keras.layers
    cnn = keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(2, 3, activation="relu"), layers.GlobalAveragePooling2D()], name="cnn"
    )
    clip = keras.Input((3, 16, 16, 3))
    values = layers.LSTM(3)(layers.TimeDistributed(cnn)(clip))
    model = keras.Model(clip, layers.Dense(2, activation="softmax")(values))
    with workshop.quiet():
        model.save(folder / "clip.keras")
        model.save(folder / "clip.h5")
        model.save_weights(folder / "clip.weights.h5")
    backbone = bright_means_fake().variants["fp32"].backbone
    assert backbone is not None
    return Base(folder / "clip.keras", folder / "clip.h5", folder / "clip.weights.h5", backbone)


@pytest.fixture(scope="session")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


class Canary:
    """A file, an environment variable and a socket that nothing may touch."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        self._listener = listener
        secret = folder / "secret.h5"
        with h5py.File(secret, "w") as file:
            file["secret"] = np.arange(64, dtype=np.float32)
            file.create_group("model_weights")["secret"] = np.arange(64, dtype=np.float32)
        self._content = secret.read_bytes()
        self.target = Target(secret, folder, listener.getsockname()[1])
        self._rest()
        secret.read_bytes()
        # Not every file system keeps the time of the last reading.
        self.reading_shows = secret.stat().st_atime_ns != _OLD_NS
        self._rest()

    def _rest(self) -> None:
        os.utime(self.target.file, ns=(_OLD_NS, _NEW_NS))

    def check(self) -> None:
        found = self.target.file.stat()
        assert found.st_mtime_ns == _NEW_NS, "the canary was written to"
        assert not self.reading_shows or found.st_atime_ns == _OLD_NS, "the canary was read"
        assert self.target.file.read_bytes() == self._content
        assert [item.name for item in self.target.folder.iterdir()] == [self.target.file.name]
        assert not select.select([self._listener], [], [], 0)[0], "somebody called"


@pytest.fixture
def canary(tmp_path, listener, monkeypatch) -> Canary:
    monkeypatch.setenv(_VARIABLE, "alive")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    for name in ("temp", "canary", "out", "in"):
        (tmp_path / name).mkdir()
    return Canary(tmp_path / "canary", listener)


@pytest.fixture
def refused(canary, tmp_path) -> Callable[..., str]:
    """Convert a file, and hold that it was refused in time, for a reason that matches, and touched nothing."""

    def run(source: Path, words: str, family: str | None = None) -> str:
        before = {item: item.lstat().st_mtime_ns for item in (tmp_path / "in").iterdir()}
        environment = dict(os.environ)
        start = time.perf_counter()
        with pytest.raises(ConversionError, match=words) as caught:
            convert(source, tmp_path / "out" / "m.dfe", ConvertOptions(family=family))
        assert time.perf_counter() - start < MOST_SECONDS
        canary.check()
        assert dict(os.environ) == environment
        assert not list((tmp_path / "out").iterdir())
        assert not list((tmp_path / "temp").iterdir())
        assert {item: item.lstat().st_mtime_ns for item in (tmp_path / "in").iterdir()} == before
        message = str(caught.value)
        assert source.name in message.splitlines()[0]
        assert all(mark.isprintable() or mark == "\n" for mark in message)
        return message

    return run
