"""The conversion process has nothing but what it needs, and whatever ends it becomes one typed error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from deepfake_edge.converters import ConvertOptions, Limits, convert
from deepfake_edge.converters import sandbox as sandboxes
from deepfake_edge.converters.sandbox import Sandbox
from deepfake_edge.converters.truth_file import unpack_truth
from deepfake_edge.errors import ConversionError, InvalidInput
from deepfake_edge.sealed import pack

# Keras 3.15 copies its variables in a way that numpy 2.4 calls deprecated; it is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

NOTHING = {"title": "x.bin", "kind": "hdf5"}


def process_of(sandbox: Sandbox) -> int:
    assert sandbox._process is not None
    return sandbox._process.pid


def test_it_sees_nothing_of_the_parents_environment(monkeypatch):
    monkeypatch.setenv("DEEPFAKE_EDGE_CANARY", "secret")
    monkeypatch.setenv("LD_LIBRARY_PATH", ":/usr/lib/some:relative::/opt/lib:")
    with Sandbox(Limits()) as sandbox:
        with pytest.raises(ConversionError):
            sandbox.ask("open", order=NOTHING)
        place = Path("/proc", str(process_of(sandbox)))
        environment = (place / "environ").read_bytes()
        assert os.readlink(place / "cwd") == os.path.realpath(sandbox.folder)
        limits = (place / "limits").read_text()
    assert b"secret" not in environment
    assert b"LD_LIBRARY_PATH=/usr/lib/some:/opt/lib\0" in environment, "an empty entry is the current folder"
    assert str(12 * 1024**3) in limits


def test_nothing_is_left_of_it():
    with Sandbox(Limits()) as sandbox:
        with pytest.raises(ConversionError):
            sandbox.ask("open", order=NOTHING)
        pid, folder = process_of(sandbox), sandbox.folder
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path):
    script = (
        "import os, signal\n"
        "from deepfake_edge.converters.sandbox import Limits, Sandbox\n"
        "from deepfake_edge.errors import ConversionError\n"
        "sandbox = Sandbox(Limits())\n"
        "try:\n    sandbox.ask('open', order={'title': 'x', 'kind': 'hdf5'})\n"
        "except ConversionError:\n    pass\n"
        "print(sandbox._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    for _ in range(100):
        try:
            state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    pytest.fail("the conversion process lives on")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(wall_s=1), "took longer than its limit of 1 s"),
        (Limits(cpu_s=2), "processor time"),
        (Limits(file_bytes=3000), "too large|File too large"),
    ],
)
def test_every_limit_ends_in_a_typed_error(limits, words, saved, tiny, tmp_path):
    options = ConvertOptions(overrides=tiny.overrides, limits=limits)
    with pytest.raises(ConversionError, match=words):
        convert(saved, tmp_path / "m.dfe", options)
    assert not list(tmp_path.iterdir())


def test_a_model_that_declares_more_than_the_memory_there_is(keras, tiny, tmp_path):
    source = tmp_path / "vast.keras"
    layers = keras.layers
    keras.Sequential([keras.Input((32, 32, 3)), layers.Flatten(), layers.Dense(7, name="vast"), layers.Dense(1)]).save(
        source
    )
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = members["config.json"].replace(b'"units": 7', b'"units": 1000000')
    with zipfile.ZipFile(source, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    options = ConvertOptions(overrides=tiny.overrides, limits=Limits(memory_bytes=2 * 1024**3))
    with pytest.raises(ConversionError, match=r"memory|OOM|allocat"):
        convert(source, tmp_path / "m.dfe", options)
    assert not (tmp_path / "m.dfe").exists()


def test_a_crash_ends_in_a_typed_error(saved, tiny, tmp_path, monkeypatch):
    asked = Sandbox.ask

    def shot(self, task, **arguments):
        if task == "export":
            os.kill(process_of(self), signal.SIGSEGV)
        return asked(self, task, **arguments)

    monkeypatch.setattr(Sandbox, "ask", shot)
    with pytest.raises(ConversionError, match="SIGSEGV"):
        convert(saved, tmp_path / "m.dfe", ConvertOptions(overrides=tiny.overrides))


def test_what_comes_back_is_not_trusted(saved, tiny, tmp_path, monkeypatch):
    """A conversion process that an attacker has taken over can only answer; its networks are checked like any."""
    import onnx

    asked = Sandbox.ask

    def poisoned(self, task, **arguments):
        answer = asked(self, task, **arguments)
        if task == "export":
            path = self.folder / "backbone.onnx"
            model = onnx.load_from_string(path.read_bytes())
            tensor = model.graph.initializer[0]
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="/etc/passwd")
            path.write_bytes(model.SerializeToString())
        return answer

    monkeypatch.setattr(Sandbox, "ask", poisoned)
    with pytest.raises(ConversionError, match="external data"):
        convert(saved, tmp_path / "m.dfe", ConvertOptions(overrides=tiny.overrides))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["link", "twin", "pipe", "folder", "absent"])
def test_only_plain_files_of_its_own_are_read(kind, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    with Sandbox(Limits()) as sandbox:
        place = sandbox.folder / "truth.npz"
        {
            "link": lambda: place.symlink_to(secret),
            "twin": lambda: os.link(secret, place),
            "pipe": lambda: os.mkfifo(place),
            "folder": place.mkdir,
            "absent": lambda: None,
        }[kind]()
        with pytest.raises(ConversionError, match=r"left no .*truth\.npz"):
            sandbox.read("truth.npz")


def test_what_it_says_of_the_source_is_arrays_or_nothing():
    vast = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    vast += b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }".ljust(117) + b"\n"
    for data in (b"", b"nothing", pack({"a.npy": vast}), pack({"windows.npy": b"\x80\x04."}), pack({})):
        with pytest.raises(ConversionError, match="cannot be read"):
            unpack_truth(data)


def test_limits_are_whole_numbers_above_zero():
    for wrong in (0, -1, 1.5, True):
        with pytest.raises(InvalidInput, match="wall_s"):
            replace(Limits(), wall_s=wrong)
    with pytest.raises(InvalidInput, match="1 GiB"):
        Limits(memory_bytes=1000)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("print('[' * 200_000, flush=True)", "answer that is none"),
        ("print('7', flush=True)", "answer that is none"),
        ('print(\'{"error": {"reasons": 5, "message": "no \\\\u001b[2J"}}\', flush=True)', r"^no \[2J$"),
        ("os.kill(os.getpid(), 35)", "ended by signal 35"),
        ("while True: print('{\"progress\": 1}', flush=True)", "took longer than its limit of 1 s"),
        ("sys.exit('no \\x1b[2J')", r"code 1 .*: no \[2J$"),
    ],
)
def test_whatever_it_says_and_does(says, words, monkeypatch):
    """A conversion process that an attacker has taken over."""
    monkeypatch.setattr(sandboxes, "_START", f"import os, sys\n{says}\nsys.stdin.read()")
    with Sandbox(Limits(wall_s=1)) as sandbox, pytest.raises(ConversionError, match=words):
        sandbox.ask("open", order=NOTHING)
