"""Which JetPack a Jetson has, and what that JetPack brings; read from files, none of which needs to be there.

https://developer.nvidia.com/embedded/jetpack-archive has the releases, with what each brings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_L4T = re.compile(r"# R(\d+) \(release\), REVISION: (\d+)")
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class JetPack:
    """One or several releases of JetPack that bring the same.

    Attributes:
        l4t: the oldest Jetson Linux (L4T) of them, major and minor.
        name: as NVIDIA calls them.
        cuda: version that it brings.
        tensorrt: version that it brings.
        python: version that its Ubuntu, and so its TensorRT module, is for.
    """

    l4t: tuple[int, int]
    name: str
    cuda: str
    tensorrt: str
    python: str

    @property
    def major(self) -> int:
        """5, 6, 7, ..."""
        return int(self.name[0])


# Oldest first.
RELEASES = (
    JetPack((35, 2), "5.1", "11.4", "8.5.2", "3.8"),
    JetPack((36, 3), "6.0", "12.2", "8.6.2", "3.10"),
    JetPack((36, 4), "6.1 to 6.2", "12.6", "10.3.0", "3.10"),
    JetPack((38, 2), "7.0 to 7.1", "13.0", "10.13.3", "3.12"),
    JetPack((39, 2), "7.2", "13.2", "10.16.2", "3.12"),
)


@dataclass(frozen=True, slots=True)
class Jetson:
    """A Jetson board and its software.

    Attributes:
        board: what the board calls itself; empty where it does not say.
        l4t: its Jetson Linux, as its release file has it, e.g. `36.4`.
        jetpack: what belongs to that; None where it is older than JetPack 5.1, or of an unknown kind.
        installed: version of the package nvidia-jetpack; None where it is not installed.
    """

    board: str
    l4t: str
    jetpack: JetPack | None
    installed: str | None


def find_jetson(root: Path = Path("/")) -> Jetson | None:
    """The Jetson that this is; None: it is none.

    Args:
        root: the folder that has `etc`, `proc` and `var`.
    """
    found = _L4T.search(_text(root / "etc" / "nv_tegra_release"))
    if found is None:
        return None
    l4t = int(found[1]), int(found[2])
    board = _text(root / "proc" / "device-tree" / "model").rstrip("\0\n")
    return Jetson(board, f"{l4t[0]}.{l4t[1]}", jetpack_of(l4t), _installed(root, "nvidia-jetpack"))


def jetpack_of(l4t: tuple[int, int]) -> JetPack | None:
    """What belongs to a Jetson Linux: the newest known release that is not newer, of the same major number."""
    known = [release for release in RELEASES if release.l4t[0] == l4t[0] and release.l4t <= l4t]
    return known[-1] if known else None


def _installed(root: Path, package: str) -> str | None:
    """The version of a Debian package, from dpkg's own list."""
    for entry in _text(root / "var" / "lib" / "dpkg" / "status").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Package") == package and fields.get("Status", "").endswith(" installed"):
            return fields.get("Version")
    return None


def _text(path: Path) -> str:
    """A file as text; empty where it cannot be read, or is no such file."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
