"""A run's folder and what is in it.

config.json        options, spec, seed, the prepared folder and the digest of its clips
versions.json      of this package, of what it trains with, and the devices
checkpoint/        what `--resume` goes on from; at an epoch's end all that follows is written after it, out of it
history.csv        a row an epoch; curves.png shows it, logs/ has it for TensorBoard
best.keras         the model of the epoch that was taken; what `deepfake-edge convert` takes
done.json          how it ended; there only when it did
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from deepfake_edge.errors import InvalidInput
from deepfake_edge.sealed import write_atomically
from deepfake_edge.training import plots, workshop

FORMAT = 1
_PACKAGES = ("deepfake-edge", "tensorflow", "keras", "numpy", "opencv-python", "av")
_DRAW_EVERY_S = 20.0
_CURVES = ("loss", "val_loss", "val_auc", "val_accuracy", "rate")


class RunFolder:
    """A run's folder.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best_model = path / "best.keras"
        self.checkpoint = path / "checkpoint" / "state.npz"
        self.best_weights = path / "checkpoint" / "best.npz"
        self._drawn_s = time.monotonic()

    def check_new(self) -> None:
        """Refuse a folder that exists. Raises InvalidInput."""
        if self.path.exists():
            known = (self.path / "config.json").is_file()
            more = f"go on with it: deepfake-edge train --resume {self.path}; or " if known else ""
            raise InvalidInput(f"{self.path}: exists already; {more}give another folder with -o")

    def create(self, config: Mapping[str, Any]) -> None:
        """Make it, with its config, or not at all. Raises OSError."""
        self.checkpoint.parent.mkdir(parents=True)
        try:
            self._write_json("config.json", {"format": FORMAT, **config})
        except BaseException:
            shutil.rmtree(self.path)
            raise

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training the same run.

        Raises:
            InvalidInput: one does.
        """
        with (self.path / "config.json").open("rb") as config:
            try:
                fcntl.flock(config, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInput(f"{self.path}: another process trains it now; wait for it, or end it") from None
            yield

    def config(self) -> dict[str, Any]:
        """What `create` wrote. Raises InvalidInput."""
        path = self.path / "config.json"
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']!r}, wanted {FORMAT}")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidInput(f"{path}: is no run that can be taken up again ({error})") from error
        return dict(found)

    def done(self) -> dict[str, Any] | None:
        """How the run ended; None where it did not yet. Raises InvalidInput."""
        path = self.path / "done.json"
        if not path.is_file():
            return None
        try:
            found = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(f"{path}: cannot be read ({error}); delete it, then go on with the run") from error
        if not self.best_model.is_file():
            raise InvalidInput(f"{self.path}: had ended, but its {self.best_model.name} is gone; start a new run")
        return found

    def write_done(self, found: Mapping[str, Any]) -> None:
        """The run ended."""
        self._write_json("done.json", found)

    def write_versions(self) -> list[str]:
        """What trains now, and what did before that; in words, what differs from the last time. Raises OSError."""
        path = self.path / "versions.json"
        now: dict[str, Any] = {
            "python": platform.python_version(),
            "machine": platform.platform(),
            "devices": [device.name for device in workshop.tensorflow().config.list_logical_devices()],
            **{name: _version(name) for name in _PACKAGES},
        }
        try:
            last = dict(json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            last = dict(now)
        before = last.pop("before", [])
        changes = [f"{name} {last.get(name)} before, {now[name]} now" for name in now if last.get(name) != now[name]]
        self._write_json(path.name, {**now, "before": [*before, last] if changes else before})
        return changes

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The table of all epochs, the last one for TensorBoard, and now and then the picture.

        Raises:
            OSError: one cannot be written.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[-1]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write(self.path / "history.csv", text.getvalue().encode())
        self._log(rows[-1], len(rows))
        if time.monotonic() - self._drawn_s >= _DRAW_EVERY_S:
            self.draw_curves(rows)

    def draw_curves(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The picture of all epochs. Raises OSError."""
        plots.curves({name: [float(row[name]) for row in rows] for name in _CURVES}, self.path / "curves.png")
        self._drawn_s = time.monotonic()

    def write(self, path: Path, data: bytes) -> None:
        """A file of it, whole or not at all. Raises OSError."""
        write_atomically(data, path)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self.write(self.path / name, (json.dumps(value, indent=2) + "\n").encode())

    def _log(self, row: Mapping[str, Any], epoch: int) -> None:
        """Scalars as TensorBoard reads them: a file an epoch, which the same epoch overwrites."""
        tensorflow = workshop.tensorflow()
        records, now_s = tensorflow.compat.v1, time.time()
        scalars = records.SummaryMetadata(plugin_data=records.SummaryMetadata.PluginData(plugin_name="scalars"))
        values = [
            records.Summary.Value(tag=name, metadata=scalars, tensor=tensorflow.make_tensor_proto(float(row[name])))
            for name in _CURVES
        ]
        events = (
            records.Event(wall_time=now_s, file_version="brain.Event:2"),
            records.Event(wall_time=now_s, step=epoch, summary=records.Summary(value=values)),
        )
        # In memory, so that a full disk is an OSError as of every other file.
        memory = "ram://deepfake-edge-events"
        with tensorflow.io.TFRecordWriter(memory) as writer:
            for event in events:
                writer.write(event.SerializeToString())
        with tensorflow.io.gfile.GFile(memory, "rb") as file:
            data = file.read()
        tensorflow.io.gfile.remove(memory)
        logs = self.path / "logs"
        logs.mkdir(exist_ok=True)
        self.write(logs / f"events.out.tfevents.{epoch:06d}", data)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
