"""A run's folder and what is in it.

config.json        options, spec, seed, the prepared folder and the digest of its clips
versions.json      of this package, of what it trains with, and the devices
history.csv        a row an epoch; curves.png shows it, logs/ has it for TensorBoard
checkpoint/        what `--resume` goes on from
best.keras         the model of the best epoch, which `deepfake-edge convert` takes
done.json          how it ended; there only when it did
"""

from __future__ import annotations

import csv
import io
import json
import platform
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
        """Make it, with its config. Raises OSError."""
        self.checkpoint.parent.mkdir(parents=True)
        self._write_json("config.json", {"format": FORMAT, **config})

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
        """How the run ended; None where it did not yet."""
        path = self.path / "done.json"
        return dict(json.loads(path.read_bytes())) if path.is_file() else None

    def write_done(self, found: Mapping[str, Any]) -> None:
        """The run ended."""
        self._write_json("done.json", found)

    def write_versions(self) -> None:
        """What trains; of a run that was taken up again, the last."""
        devices = workshop.tensorflow().config.list_logical_devices()
        self._write_json(
            "versions.json",
            {
                "python": platform.python_version(),
                "machine": platform.platform(),
                "devices": [device.name for device in devices],
                **{name: _version(name) for name in _PACKAGES},
            },
        )

    def write_history(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The table of all epochs, the last one for TensorBoard, and now and then the picture. Raises OSError."""
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
        path = self.path / "curves.png"
        with self._told(path):
            plots.curves({name: [float(row[name]) for row in rows] for name in _CURVES}, path)
        self._drawn_s = time.monotonic()

    def write(self, path: Path, data: bytes) -> None:
        """A file of it, whole or not at all.

        Raises:
            OSError: it cannot be written; says how to go on.
        """
        with self._told(path):
            write_atomically(data, path)

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            hint = f"{error.strerror}; make room, then go on with: deepfake-edge train --resume {self.path}"
            raise OSError(error.errno, hint, str(path)) from error

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        self.write(self.path / name, (json.dumps(value, indent=2) + "\n").encode())

    def _log(self, row: Mapping[str, Any], epoch: int) -> None:
        """Scalars as TensorBoard reads them; TensorFlow writes them without that package."""
        tensorflow = workshop.tensorflow()
        records = tensorflow.compat.v1.SummaryMetadata
        scalars = records(plugin_data=records.PluginData(plugin_name="scalars"))
        writer = tensorflow.summary.create_file_writer(str(self.path / "logs"), filename_suffix=f".{epoch}")
        with writer.as_default():
            for name in _CURVES:
                tensorflow.summary.write(name, float(row[name]), step=epoch, metadata=scalars)
        writer.close()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
