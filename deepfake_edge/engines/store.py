"""Engines in the cache folder: a plain plan file each, and a sidecar that vouches for it.

`<digest>.engine` is what TensorRT's own tools load, `<digest>.json` its sidecar. The plan is written first, so that a
kill leaves a plan that nothing vouches for, and that is never loaded: plans are executable.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepfake_edge.bundle import read_at_most
from deepfake_edge.cache import cache_dir
from deepfake_edge.engines.identity import EngineIdentity, Part, Platform
from deepfake_edge.engines.sidecar import MAX_BYTES, Sidecar, read_sidecar
from deepfake_edge.errors import BundleError, EngineMismatch
from deepfake_edge.sealed import seal, unseal, write_atomically

_TIMING = "timing.cache"
_MAX_TIMING_BYTES = 1024**3
_BUILD_AGAIN = "build it again: deepfake-edge build"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredEngine:
    """An engine from the cache, its plan as the sidecar vouches for it."""

    plan: bytes
    sidecar: Sidecar


@dataclass(frozen=True, slots=True)
class Entry:
    """One engine's files: the plan's path, and its sidecar; None where the plan cannot be loaded, `flaw` says why."""

    path: Path
    sidecar: Sidecar | None
    flaw: str | None = None


class EngineStore:
    """The engines of one cache folder, shared by all processes of this machine.

    Attributes:
        folder: where they are; it may not exist yet.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Nothing is read or made yet; None takes `engines` in the cache folder."""
        self.folder = cache_dir() / "engines" if folder is None else folder

    def find(self, identity: EngineIdentity) -> StoredEngine | None:
        """The engine of an identity; None where there is none.

        Raises:
            EngineMismatch: it is damaged, or a build of it was cut short.
            BundleError: it cannot be read.
        """
        path = self.path_of(identity)
        try:
            absent = not path.exists() and not path.with_suffix(".json").exists()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read: {error.strerror}; was it built by another user?") from error
        if absent:
            return None
        entry = _look_at(path)
        if entry.sidecar is None:
            raise EngineMismatch(f"{path}: {entry.flaw}; {_BUILD_AGAIN}")
        if entry.sidecar.identity != identity:
            raise EngineMismatch(f"{path}: its sidecar is that of another engine; {_BUILD_AGAIN}")
        plan = read_at_most(path, entry.sidecar.plan_bytes, "its plan")
        if hashlib.sha256(plan).hexdigest() != entry.sidecar.plan_sha256:
            raise EngineMismatch(f"{path}: is damaged, or not what was built (its sha256 differs); {_BUILD_AGAIN}")
        return StoredEngine(plan, entry.sidecar)

    def why_never(self, part: Part) -> str | None:
        """Why there is no engine of a part for any device; None where there may be one. Needs no GPU, nor TensorRT."""
        wanted = (part.graph_sha256, part.precision)
        for entry in self.list():
            if entry.sidecar is None:
                return None
            identity = entry.sidecar.identity
            if (identity.graph_sha256, identity.precision) == wanted:
                return None
        return _never_built(part.precision)

    def why_not(self, identity: EngineIdentity) -> str:
        """Why `find` has nothing for an identity, and what to do, in one sentence."""
        for found in [entry.sidecar.identity for entry in self.list() if entry.sidecar is not None]:
            same = (found.graph_sha256, found.precision) == (identity.graph_sha256, identity.precision)
            differs = found.platform.against(identity.platform)
            if same and differs:
                return f"its engine was built {differs}; build it again: {_command(identity.precision)}"
        return _never_built(identity.precision)

    def put(self, plan: bytes, sidecar: Sidecar) -> Path:
        """Keep an engine; an older one of the same identity is replaced. Returns the plan's path.

        Raises:
            BundleError: it cannot be written; then there is none.
        """
        path = self.path_of(sidecar.identity)
        with self._writing(path):
            path.with_suffix(".json").unlink(missing_ok=True)
            try:
                write_atomically(plan, path)
                write_atomically(sidecar.to_bytes(), path.with_suffix(".json"))
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return path

    def path_of(self, identity: EngineIdentity) -> Path:
        """Where an identity's plan is, or would be."""
        return self.folder / f"{identity.digest}.engine"

    def list(self) -> list[Entry]:
        """What is there, the damaged included; plans are not read. In the order of bundles and parts."""
        names = {path.stem for suffix in ("engine", "json") for path in self.folder.glob(f"*.{suffix}")}
        entries = [_look_at(self.folder / f"{name}.engine") for name in sorted(names)]
        return sorted(entries, key=lambda entry: (entry.sidecar.bundle, entry.sidecar.part) if entry.sidecar else ())

    def clean(self, here: Platform | None = None, *, everything: bool = False) -> tuple[Path, ...]:
        """Remove what can no longer be used. Called under `lock`.

        Args:
            here: engines of the same GPU by another TensorRT, driver or recipe are removed; None: only the damaged.
            everything: all engines, and what is remembered of kernels.
        Returns:
            the plans that were removed.
        Raises:
            BundleError: something cannot be removed.
        """
        gone = [entry.path for entry in self.list() if everything or self._is_stale(entry, here)]
        with self._writing(self.folder):
            for path in gone:
                path.with_suffix(".json").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
            for path in self.folder.glob("timing-*.zip") if everything else ():
                path.unlink(missing_ok=True)
        self.remove_leftovers()
        return tuple(gone)

    def _is_stale(self, entry: Entry, here: Platform | None) -> bool:
        if entry.sidecar is None:
            return True
        platform = entry.sidecar.identity.platform
        if here is not None and platform.gpu == here.gpu and platform != here:
            return True
        try:
            return self.find(entry.sidecar.identity) is None or entry.path != self.path_of(entry.sidecar.identity)
        except BundleError:
            return True

    def remove_leftovers(self) -> None:
        """Remove what a killed process left half-written. Called under `lock`, when nobody writes."""
        for path in self.folder.glob(".deepfake-edge.*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def check_room(self, size_bytes: int) -> None:
        """Find out before a build, not after it, whether it can be kept.

        Raises:
            BundleError: the folder cannot be made or written, or has less room than that.
        """
        with self._writing(self.folder):
            self._make_folder()
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(b"0")
                probe.flush()
            free = shutil.disk_usage(self.folder).free
        if free < size_bytes:
            raise BundleError(
                f"{self.folder}: an engine may need {_mib(size_bytes)}, {_mib(free)} are free; make room with: "
                "deepfake-edge build --clean, or name another folder in DEEPFAKE_EDGE_CACHE"
            )

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time builds or cleans: two builds on one GPU would spoil each other's timings, too.

        A second one waits, and says so. The lock ends with its process, however that ends.

        Raises:
            BundleError: the folder cannot be locked.
        """
        with self._writing(self.folder):
            self._make_folder()
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with self._writing(self.folder):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    _log.info("another process is building engines in %s: waiting for it", self.folder)
                    fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def timing(self, platform: Platform) -> bytes:
        """What kernels took in earlier builds, as TensorRT serialised it; empty where nothing is known."""
        path = self._timing_path(platform)
        if not path.exists():
            return b""
        try:
            return unseal(read_at_most(path, _MAX_TIMING_BYTES, "a timing cache"), path.name)[_TIMING]
        except (BundleError, KeyError):
            _log.warning("%s: is damaged; this build measures its kernels again", path)
            return b""

    def keep_timing(self, platform: Platform, timing: bytes) -> None:
        """Keep it for the next build, which it makes faster. Called under `lock`; a failure costs only time."""
        try:
            write_atomically(seal({_TIMING: timing}), self._timing_path(platform))
        except OSError as error:
            _log.warning("what was measured cannot be kept for the next build (%s)", error)

    def _timing_path(self, platform: Platform) -> Path:
        return self.folder / f"timing-{platform.timing_key}.zip"

    def _make_folder(self) -> None:
        # Plans are programs: whatever the umask, others shall not put any there.
        self.folder.mkdir(0o755, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BundleError(
                f"{path}: cannot be written: {error.strerror or error}; mend that, or name another folder in "
                "DEEPFAKE_EDGE_CACHE"
            ) from error


def _command(precision: str) -> str:
    return f"deepfake-edge build BUNDLE --precision {precision}"


def _never_built(precision: str) -> str:
    return f"no engine was built for it on this machine; to have one: {_command(precision)}"


def _look_at(path: Path) -> Entry:
    """An engine's files, without reading the plan."""
    try:
        sidecar = read_sidecar(read_at_most(path.with_suffix(".json"), MAX_BYTES, "a sidecar"))
        size = path.stat().st_size
    except (BundleError, ValueError):
        return Entry(path, None, "has no sidecar that can be read, as after a build that was cut short")
    except OSError:
        return Entry(path, None, "its plan is gone")
    if size != sidecar.plan_bytes:
        return Entry(path, None, f"has {size} bytes where {sidecar.plan_bytes} were built")
    return Entry(path, sidecar)


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 1024**2:.0f} MiB"
