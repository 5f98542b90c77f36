"""The folder of engines belongs to another user, or is made where everybody may write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deepfake_edge.engines.identity import EngineIdentity, Platform
from deepfake_edge.engines.store import EngineStore
from deepfake_edge.errors import BundleError

IDENTITY = EngineIdentity("a" * 64, "fp16", Platform("10.3.0", "8.7", "Orin", 8, "12.6"))
NOBODY = 65534


@contextmanager
def not_root() -> Iterator[None]:
    """Root may read everything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_folder_that_cannot_be_read_is_a_typed_error(tmp_path):
    store = EngineStore(tmp_path / "engines")
    store.folder.mkdir()
    store.folder.chmod(0)
    try:
        with not_root(), pytest.raises(BundleError, match=r"cannot be read: Permission denied.*another user"):
            store.find(IDENTITY)
    finally:
        store.folder.chmod(0o755)


@pytest.mark.parametrize("make", ["lock", "check_room"])
def test_others_cannot_put_plans_there(tmp_path, make):
    store, before = EngineStore(tmp_path / "engines"), os.umask(0)
    try:
        if make == "lock":
            with store.lock():
                pass
        else:
            store.check_room(1)
    finally:
        os.umask(before)
    assert not stat.S_IMODE(store.folder.stat().st_mode) & 0o022
