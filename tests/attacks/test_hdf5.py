"""HDF5 files whose names lead elsewhere, whose data lie elsewhere, or that declare what they do not hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from attacks.forge import MUTANTS, Base, Target, with_weights


def places(file: h5py.File) -> list[str]:
    """The names of every group and array, deepest last."""
    found: list[str] = []
    file.visit(found.append)
    return sorted(found, key=lambda name: (name.count("/"), name))


def arrays(file: h5py.File) -> list[str]:
    return [name for name in places(file) if isinstance(file[name], h5py.Dataset)]


def replace(file: h5py.File, name: str, make: Callable[[], object]) -> None:
    del file[name]
    file[name] = make()


def external_link(file: h5py.File, number: int, target: Target) -> None:
    paths = [str(target.file), "../canary/secret.h5", "secret.h5", target.file.as_uri(), "/proc/self/mem"]
    link = h5py.ExternalLink(paths[number // 2 % len(paths)], "/secret" if number % 3 else "/model_weights")
    names = places(file)
    if number % 4 == 3:
        file[f"evil{number}"] = link
    else:
        replace(file, names[number * 3 % len(names)], lambda: link)


def soft_link(file: h5py.File, number: int, target: Target) -> None:
    names = places(file)
    name = names[number * 5 % len(names)]
    other = names[(number * 5 + 1) % len(names)]
    if number < 10:
        file[f"evil{number}"] = h5py.SoftLink(["/", f"/{name}", ".", "../..", "/nowhere"][number % 5])
    elif number < 15:
        replace(file, name, lambda: h5py.SoftLink(f"/{other}" if number % 2 else str(target.file)))
    elif number < 18:
        # A second hard link: the same array under two names, or a group within itself.
        file[f"evil{number}"] = file[arrays(file)[number % 3]]
    else:
        group = file[places(file)[0]]
        group[f"evil{number}"] = file["/"] if number == 18 else group


def data_elsewhere(file: h5py.File, number: int, target: Target) -> None:
    name = arrays(file)[number % len(arrays(file))]
    shape, size = file[name].shape, int(file[name].size) * 4
    del file[name]
    if number % 2:
        outside = [str(target.file), "../canary/secret.h5", "/proc/self/environ", "/etc/passwd", "/dev/zero"][
            number // 2 % 5
        ]
        file.create_dataset(name, shape, np.float32, external=[(outside, number, size)])
    else:
        layout = h5py.VirtualLayout(shape=(64,), dtype=np.float32)
        inside = [str(target.file), "../canary/secret.h5", ".", "secret.h5"][number // 2 % 4]
        layout[:] = h5py.VirtualSource(inside, "secret", shape=(64,))
        file.create_virtual_dataset(name, layout)
        file.attrs[f"mutant{number}"] = number


def shape_bomb(file: h5py.File, number: int, target: Target) -> None:
    name = arrays(file)[number % len(arrays(file))]
    del file[name]
    large = [(1 << 20, 1 << 20), (50_000_000, 50_000_000), (1 << 28,), (1 << 40,), (3000, 3000, 300), (10**9,)]
    shape = large[number % len(large)]
    if number % 5 == 0:
        # Never written: nothing is stored for it.
        file.create_dataset(name, shape, np.float32)
    elif number % 5 == 1:
        file.create_dataset(name, shape, np.float32, chunks=tuple(min(size, 64) for size in shape), compression="gzip")
    elif number % 5 == 2:
        file.create_dataset(name, shape, np.float64, maxshape=(None,) * len(shape), fillvalue=float(number))
    elif number % 5 == 3:
        file.create_dataset(name, data=np.zeros(8 << 20, np.float32), compression="gzip", chunks=(1 << 20,))
        file.attrs[f"mutant{number}"] = number
    else:
        dataset = file.create_dataset(name, (1, 1), np.float32, maxshape=(None, None), chunks=(64, 64))
        dataset[...] = number
        dataset.resize((1 << 24, 1 << 24 if number % 2 else 1 << 30))


def two_gigabytes(file: h5py.File, number: int, target: Target) -> None:
    """Many arrays of up to 2 GB each, none of which is there."""
    for extra in range(1 + number % 4):
        file.create_dataset(
            f"evil/{extra}", ((1 << 29) + number, [1, 2, 3, 8][number // 4 % 4]), [np.float32, np.uint8][number % 2]
        )


def odd_types(file: h5py.File, number: int, target: Target) -> None:
    evil = "evil"
    makers: list[Callable[[], object]] = [
        lambda: file.create_dataset(evil, data=np.array(["a", target.code], dtype=h5py.string_dtype())),
        lambda: file.create_dataset(evil, data=np.array([b"abc"])),
        lambda: file.create_dataset(evil, (2,), h5py.vlen_dtype(np.float32)),
        lambda: file.create_dataset(evil, (2,), h5py.ref_dtype),
        lambda: file.create_dataset(evil, (2,), h5py.regionref_dtype),
        lambda: file.create_dataset(evil, (2,), np.dtype([("a", "f4"), ("b", "i4")])),
        lambda: file.create_dataset(evil, (2,), h5py.opaque_dtype(np.dtype("M8[s]"))),
        lambda: file.create_dataset(evil, (2,), h5py.enum_dtype({"A": 0, "B": 1})),
        lambda: file.create_dataset(evil, (2,), np.dtype("V40")),
        lambda: file.create_dataset(evil, (2,), np.dtype(("f4", (3,)))),
        lambda: file.create_dataset(evil, (2,), np.complex64),
        lambda: file.create_dataset(evil, (2,), np.longdouble),
        lambda: file.__setitem__(evil, np.dtype("f4")),
        lambda: file.create_dataset(evil, data=h5py.Empty("f4")),
        lambda: file.create_dataset(evil, data=np.zeros((1,) * 20, np.float32)),
        lambda: file.attrs.create(evil, data=file.ref, dtype=h5py.ref_dtype),
        lambda: file.attrs.create(evil, data=np.zeros(2, np.dtype([("a", "f4")]))),
        lambda: file.attrs.create("layer_names", data=[b"../../evil"]),
        lambda: file.attrs.create("weight_names", data=np.array(["/evil", "a/../b"], dtype=h5py.string_dtype())),
        lambda: file.create_dataset(evil, (64, 64), np.float32, chunks=(64, 64), scaleoffset=2),
    ]
    makers[number]()


def names_that_lead_elsewhere(file: h5py.File, number: int, target: Target) -> None:
    names = [
        b"..",
        b"..\\evil",
        b"C:\\evil",
        b"\\evil",
        b"x" * 600,
        b".\\",
        b"\\\\host",
        b"y" * 5000,
        b"..\\..",
        b"\\..",
    ]
    group = file.create_group("evil") if number % 2 else file
    space = h5py.h5s.create_simple((1 + number,))
    h5py.h5d.create(group.id, names[number % len(names)], h5py.h5t.NATIVE_FLOAT, space)


CLASSES = {
    "external-link": (external_link, "a link into another file"),
    "soft-link": (soft_link, "a soft link|another name of an object"),
    "data-elsewhere": (data_elsewhere, "keeps its data in other files"),
    "shape-bomb": (shape_bomb, "declares"),
    "two-gigabytes": (two_gigabytes, "declares"),
    "odd-types": (odd_types, "plain numbers|no shape|neither|leads out|packed by|are not all there"),
    "names": (names_that_lead_elsewhere, "leads out of its place"),
}


def forge(kind: str, number: int, base: Base, target: Target, folder: Path) -> Path:
    """Weights alone, a whole model of Keras 2's layout, or weights within an archive, in turn."""
    source = folder / ["evil.weights.h5", "evil.h5", "evil.hdf5"][number % 3]
    source.write_bytes((base.legacy if number % 3 == 1 else base.weights).read_bytes())
    with h5py.File(source, "r+") as file:
        CLASSES[kind][0](file, number, target)
    if number % 3 == 2:
        archive = with_weights(base, source.read_bytes(), folder / "evil.keras")
        source.unlink()
        return archive
    return source


@pytest.mark.parametrize("number", range(MUTANTS))
@pytest.mark.parametrize("kind", sorted(CLASSES))
def test_hdf5(kind, number, base, canary, refused, tmp_path):
    source = forge(kind, number, base, canary.target, tmp_path / "in")
    refused(source, CLASSES[kind][1], family="meso4" if number % 2 else None)


def damaged(base: Base, number: int) -> bytes:
    data = bytearray(base.weights.read_bytes())
    if number % 2:
        return bytes(data[: 9 + (len(data) - 10) * number // MUTANTS])
    dice = random.Random(number)
    # The superblock: what HDF5 begins with, and cannot do without.
    for place in dice.sample(range(8, 48), 4):
        data[place] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize("number", range(MUTANTS))
def test_hdf5_cut_short_or_without_its_beginning(number, base, refused, tmp_path):
    source = tmp_path / "in" / "evil.h5"
    source.write_bytes(damaged(base, number))
    refused(source, "damaged or truncated HDF5|declares|HDF5")
