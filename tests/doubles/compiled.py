"""Doubles in C++, compiled when tests start."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


def compiled(name: str, sources: Sequence[Path], headers: Sequence[Path], flags: Sequence[str]) -> Path:
    """A shared object, compiled once for each state of its files, however many processes ask at once.

    Args:
        name: of the file.
        sources: what is compiled.
        headers: what else it is made of.
        flags: of g++.
    """
    digest = hashlib.sha256(" ".join(flags).encode())
    for path in (*sources, *headers):
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"double-{os.getuid()}-{digest.hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to someone else")
    library = folder / name
    if not library.exists():
        compiler = shutil.which("g++")
        assert compiler, "the tests' doubles in C++ need g++. On Debian or Ubuntu: apt-get install g++"
        fresh = folder / f"{os.getpid()}.so"
        subprocess.run([compiler, *flags, "-shared", "-fPIC", "-o", str(fresh), *map(str, sources)], check=True)
        fresh.replace(library)
    return library
