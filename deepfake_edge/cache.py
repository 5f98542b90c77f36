"""Where things are kept that can be fetched or built again: device engines, face models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_OURS = "deepfake-edge"


def cache_dir() -> Path:
    """The cache folder; it may not exist yet.

    `DEEPFAKE_EDGE_CACHE` as it is, else `deepfake-edge` in the platform's own cache folder. An empty
    variable counts as not set, as the XDG specification has it.
    """
    own = os.environ.get("DEEPFAKE_EDGE_CACHE")
    if own:
        return Path(own).expanduser()
    return _platform_cache(sys.platform) / _OURS


def _platform_cache(platform: str) -> Path:
    if platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return Path(local) if local else Path.home() / "AppData" / "Local"
    if platform == "darwin":
        return Path.home() / "Library" / "Caches"
    xdg = os.environ.get("XDG_CACHE_HOME")
    # The XDG specification has relative paths ignored.
    return Path(xdg) if xdg and Path(xdg).is_absolute() else Path.home() / ".cache"
