"""Archives that lie about what they hold, unpack elsewhere or without end, or are damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import random
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from attacks.forge import CONFIG, METADATA, MUTANTS, WEIGHTS, Base, Entry, Target, bomb, entries_of, forged_zip

OUTSIDE = [
    "../evil", "../../../../../../tmp/evil", "/tmp/evil", "/etc/passwd", "..\\evil", "C:\\evil", "\\\\host\\evil",
    "a/../../evil", "./config.json", "assets/../../evil", "//evil", "model.weights.h5/../../evil", "~/evil", "..",
    "../config.json", "/config.json", "file:///tmp/evil", "%2e%2e/evil", "a/b/c/../../../../evil", "..//evil",
]  # fmt: skip
FOREIGN = [
    "assets/layers/string_lookup/vocabulary.txt", "assets/", "evil.py", "__init__.py", "config.yaml", "model.pkl",
    "model.weights.npz", "CONFIG.JSON", "config.json ", " config.json", "config.json\x00", "config.json/",
    "Config.json", "model.weights.h5.bak", "__MACOSX/._config.json", "conﬁg.json", "config\u200b.json",
    "\x1b[31mconfig.json", "m\u00f6del.h5",
    "metadata.json.json",
]  # fmt: skip


def outside(base: Base, number: int, target: Target) -> bytes:
    extra = Entry(OUTSIDE[number], b"x", central={"mode": (0o100777 if number % 2 else 0o120777) << 16})
    entries = entries_of(base)
    entries.insert(number % (len(entries) + 1), extra)
    return forged_zip(entries)


def foreign(base: Base, number: int, target: Target) -> bytes:
    return forged_zip([*entries_of(base), Entry(FOREIGN[number], target.code.encode())])


def twice(base: Base, number: int, target: Target) -> bytes:
    entries = entries_of(base)
    victim = entries[number % len(entries)]
    content = [victim.content, b"{}", target.code.encode(), b""][number // 3 % 4] + b" " * number
    second = Entry(victim.name, content)
    if number >= 12:
        # Two entries of the directory for one place in the file.
        second = Entry(victim.name, content, central={"start": number - 12})
    entries.insert([0, len(entries)][number % 2], second)
    return forged_zip(entries)


def zip_bomb(base: Base, number: int, target: Target) -> bytes:
    entries = {entry.name: entry for entry in entries_of(base)}
    victim = [WEIGHTS, CONFIG, METADATA][number % 3]
    mebibytes = 40 + 8 * number
    packed, crc = bomb(mebibytes)
    told = [mebibytes * 1024**2, len(entries[victim].content), 1, 2**30][number // 3 % 4]
    lie = {"crc": crc, "size": told}
    entries[victim] = Entry(victim, b"", 8, packed, local=lie, central=lie)
    return forged_zip(list(entries.values()))


def two_gigabytes(base: Base, number: int, target: Target) -> bytes:
    """Sizes that nothing stands behind, in the directory, before the data, or in both."""
    entries = entries_of(base)
    victim = entries[number % 3]
    size = 2**31 + number * 100_000_007
    lie = {"size": size, "stored": size} if number % 2 else {"size": size}
    wide = b"\x01\x00\x10\x00" + (size * 1000).to_bytes(8, "little") * 2
    large = {"extra": wide, "size": 2**32 - 1, "stored": 2**32 - 1}
    victim.method = 8 if number % 4 == 3 else 0
    if number >= 15:
        victim.local = victim.central = large
    else:
        victim.local = lie if number % 5 != 4 else {}
        victim.central = lie if number % 5 != 3 else {}
    return forged_zip(entries)


def lying_headers(base: Base, number: int, target: Target) -> bytes:
    """What stands before a member, or at the end, is not what the directory says."""
    entries = entries_of(base)
    victim = entries[number % 3]
    lies = [
        {"name": b"../evil.py"}, {"name": victim.name.upper().encode()}, {"crc": 1}, {"size": 1}, {"stored": 1},
        {"method": 8}, {"flags": 8}, {"flags": 1}, {"signature": b"PK\x03\x05"}, {"extra": b"\x01\x00"},
        {"extra": b"\x01\x00\x08\x00" + bytes(8)}, {"extra": b"\x00\x00\xff\xff"},
    ]  # fmt: skip
    if number < len(lies):
        victim.local = lies[number]
        return forged_zip(entries)
    more: list[Callable[[], bytes]] = [
        lambda: forged_zip(entries, before=target.code.encode()),
        lambda: forged_zip(entries, after=b"#" + target.code.encode()),
        lambda: forged_zip(entries, gap=b"evil"),
        lambda: forged_zip(entries, count=2),
        lambda: forged_zip(entries, count=4),
        lambda: forged_zip(entries, directory_size=10),
        lambda: forged_zip(entries, directory=0),
        lambda: forged_zip(entries) + forged_zip(entries),
        lambda: forged_zip([]),
        lambda: b"PK\x03\x04" + forged_zip(entries),
    ]
    return more[number - len(lies)]()


def unreadable(base: Base, number: int, target: Target) -> bytes:
    """Encrypted members, links, and packings that Keras does not use."""
    entries = entries_of(base)
    victim = entries[number % 3]
    kind = number // 3
    both = [{"flags": 1}, {"flags": 0x41}, {"flags": 8}, {"flags": 0x20}, {"mode": 0o120777 << 16}, {"disk": 1}]
    if kind < len(both):
        victim.local = victim.central = both[kind]
    elif number == 18:
        victim.method, victim.stored = 12, bz2.compress(victim.content)
    else:
        victim.method, victim.stored = 14, lzma.compress(victim.content)
    return forged_zip(entries)


def truncated(base: Base, number: int, target: Target) -> bytes:
    data = base.archive.read_bytes()
    return data[: 8 + (len(data) - 9) * number // (MUTANTS - 1)]


def harmless_bytes(data: bytes) -> set[int]:
    """Places in an archive's directory that say nothing to anybody: who made it, and permissions."""
    places: set[int] = set()
    at = data.find(b"PK\x01\x02", int.from_bytes(data[-6:-2], "little"))
    while at >= 0:
        places |= {at + 4, at + 5, *range(at + 36, at + 42)}
        at = data.find(b"PK\x01\x02", at + 46)
    return places


def flipped(base: Base, number: int, target: Target) -> bytes:
    data = bytearray(base.archive.read_bytes())
    directory = int.from_bytes(data[-6:-2], "little")
    # Every other flip goes into the directory, which is small.
    first = directory if number % 2 else 0
    dice = random.Random(1000)
    places = dice.sample(sorted(set(range(first, len(data))) - harmless_bytes(bytes(data))), MUTANTS)
    data[places[number]] ^= 1 << number % 8
    return bytes(data)


CLASSES = {
    "outside": (outside, "no member of Keras's|outside the archive|lookup layers"),
    "foreign": (foreign, "no member of Keras's|lookup layers|outside the archive"),
    "twice": (twice, "stands in it twice"),
    "bomb": (zip_bomb, "more than weights can shrink|are the most|is damaged"),
    "two-gigabytes": (two_gigabytes, "are the most|cannot be|shrink|different things|not as Keras|damaged or foreign"),
    "lying-headers": (lying_headers, "damaged or foreign|is no model|missing"),
    "unreadable": (unreadable, "encrypted|flags|is a link|not as Keras writes|by method"),
    "truncated": (truncated, "damaged or foreign"),
    "flipped": (flipped, r"evil\.keras: "),
}


@pytest.mark.parametrize("number", range(MUTANTS))
@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_archives(kind, number, base, canary, refused, tmp_path):
    forge, words = CLASSES[kind]
    source = tmp_path / "in" / "evil.keras"
    source.write_bytes(forge(base, number, canary.target))
    refused(source, words, family="meso4" if number % 4 == 0 else None)


@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_every_mutant_is_another(kind, base, canary):
    forge, _ = CLASSES[kind]
    assert len({forge(base, number, canary.target) for number in range(MUTANTS)}) == MUTANTS


def contents(base: Base) -> dict[str, bytes]:
    arrays = io.BytesIO()
    with zipfile.ZipFile(arrays, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    return {
        "archive": base.archive.read_bytes(),
        "weights": base.weights.read_bytes(),
        "legacy": base.legacy.read_bytes(),
        "onnx": base.onnx,
        "pickle": pickle.dumps({"weights": [1.0] * 100}),
        "text": b"model = keras.Sequential()\n" * 20,
        "png": b"\x89PNG\r\n\x1a\n" + bytes(100),
        "gzip": gzip.compress(base.archive.read_bytes()),
        "document": arrays.getvalue(),
        "zlib": zlib.compress(base.weights.read_bytes()),
    }


HOMES = {"archive": ".keras", "weights": ".h5", "legacy": ".h5", "onnx": ".onnx"}
RENAMED = [
    (content, suffix)
    for suffix in (".keras", ".h5", ".weights.h5", ".hdf5", ".onnx", ".KERAS")
    for content in ("archive", "weights", "legacy", "onnx", "pickle", "text", "png", "gzip", "document", "zlib")
    if not (suffix.lower() == HOMES.get(content) or (HOMES.get(content) == ".h5" and suffix.endswith(("h5", "hdf5"))))
]


@pytest.mark.parametrize(("content", "suffix"), RENAMED)
def test_names_that_promise_something_else(content, suffix, base, refused, tmp_path):
    source = tmp_path / "in" / f"evil{suffix}"
    source.write_bytes(contents(base)[content])
    refused(
        source, "its name promises|is no model|is not an ONNX file|damaged or foreign|no archive that Keras|no ONNX"
    )


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "depth", "absent"])
def test_what_is_no_file(kind, base, refused, tmp_path):
    source = Path(tmp_path, "in", "evil.keras")
    if kind == "pipe":
        os.mkfifo(source)
    elif kind == "device":
        source.symlink_to("/dev/zero")
    elif kind == "loop":
        source.symlink_to(source)
    elif kind == "folder":
        source.mkdir()
        (source / "saved_model.pb").mkdir()
    elif kind == "depth":
        source.joinpath(*["d"] * 20).mkdir(parents=True)
        (source / "saved_model.pb").touch()
    refused(source, "plain file|cannot be read|is a folder|does not exist|deeper than")
