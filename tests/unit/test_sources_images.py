from __future__ import annotations

import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest

from deepfake_edge.errors import InvalidInput, SourceError
from deepfake_edge.pictures import read_picture
from deepfake_edge.sources.folder import ImageFolder, natural_key
from deepfake_edge.sources.image import ImageFile


def picture(height=40, width=60):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([columns * 4, rows * 6, np.full_like(rows, 90)], axis=2).astype(np.uint8)


def encode(pixels, suffix):
    done, data = cv2.imencode(suffix, pixels)
    assert done
    return data.tobytes()


def write(path, pixels=None):
    path.write_bytes(encode(picture() if pixels is None else pixels, path.suffix))
    return path


def read(path, **options):
    with ImageFile(path, **options) as source:
        (frame,) = source.frames()
    return source, frame


SUFFIXES = [".jpg", ".png", ".webp", ".bmp", ".tif"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_picture_is_one_bgr_frame(tmp_path, suffix):
    source, frame = read(write(tmp_path / f"face{suffix}"))
    assert (frame.index, frame.time_s, frame.format, frame.pixels.dtype) == (0, 0.0, "BGR", np.uint8)
    assert np.abs(frame.pixels.astype(int) - picture()).mean() < 4
    assert (source.complete, source.incomplete_reason, source.is_still, source.frame_count) == (True, None, True, 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_its_size_is_known_before_it_is_decoded(tmp_path, suffix):
    path = write(tmp_path / f"face{suffix}")
    with pytest.raises(SourceError, match="60x40 is more than the 2399 pixels"):
        read(path, max_pixels=2399)
    assert read(path, max_pixels=2400)[1].width == 60


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.9, 0.99])
def test_a_picture_that_was_cut_off_is_never_complete(tmp_path, suffix, share):
    rng = np.random.default_rng(0)
    data = encode(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8), suffix)
    path = tmp_path / f"face{suffix}"
    path.write_bytes(data[: int(len(data) * share)])
    source = ImageFile(path)
    with contextlib.suppress(SourceError):
        list(source.frames())
    assert not source.complete


@pytest.mark.parametrize(
    "pixels",
    [
        picture()[:, :, 0],
        cv2.cvtColor(picture(), cv2.COLOR_BGR2BGRA),
        picture().astype(np.uint16) * 257,
        picture()[:, :, 0].astype(np.uint16) * 257,
    ],
    ids=["grey", "alpha", "16 bits", "grey 16 bits"],
)
def test_other_depths_become_bgr(tmp_path, pixels):
    _, frame = read(write(tmp_path / "face.png", pixels))
    assert (frame.pixels.shape, frame.pixels.dtype) == ((40, 60, 3), np.uint8)
    assert abs(int(frame.pixels[20, 30, 0]) - 120) <= 2


def test_exif_orientation_is_applied(tmp_path):
    data = encode(picture(), ".jpg")
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + tiff
    path = tmp_path / "face.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    assert read(path)[1].pixels.shape == (60, 40, 3)


def animated_png(frames):
    data = encode(picture(), ".png")
    body = b"acTL" + struct.pack(">II", frames, 0)
    return data[:33] + struct.pack(">I", 8) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def animated_webp(frames):
    still = encode(picture(), ".webp")[12:]
    size = (59).to_bytes(3, "little") + (39).to_bytes(3, "little")
    one = bytes(6) + size + (100).to_bytes(3, "little") + b"\0" + still
    chunks = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + size + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    chunks += (b"ANMF" + struct.pack("<I", len(one)) + one) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def tiff_of_pages(frames, kind=0):
    """Its further pages have nothing but their kind: 1 is a smaller copy."""
    data = bytearray(encode(picture(), ".tif"))
    for _ in range(frames - 1):
        start = struct.unpack_from("<I", data, 4)[0]
        link = start + 2 + 12 * struct.unpack_from("<H", data, start)[0]
        struct.pack_into("<I", data, link, len(data))
        data += struct.pack("<HHHIII", 1, 254, 4, 1, kind, 0)
    return bytes(data)


@pytest.mark.parametrize(
    ("suffix", "make"), [(".png", animated_png), (".webp", animated_webp), (".tif", tiff_of_pages)]
)
def test_of_several_pictures_the_first_is_read_and_it_is_told(tmp_path, suffix, make):
    path = tmp_path / f"face{suffix}"
    path.write_bytes(make(1))
    assert read(path)[0].complete
    path.write_bytes(make(2))
    source, frame = read(path)
    assert frame.pixels.shape == (40, 60, 3)
    assert source.incomplete_reason == "holds several pictures, of which only the first was read"


def test_a_smaller_copy_is_no_second_picture(tmp_path):
    (tmp_path / "face.tif").write_bytes(tiff_of_pages(2, kind=1))
    assert read(tmp_path / "face.tif")[0].complete


def test_what_a_phone_appends_is_no_damage(tmp_path):
    path = tmp_path / "face.jpg"
    path.write_bytes(encode(picture(), ".jpg") + b"\0\0\0\x18ftypmp42" + bytes(500))
    assert read(path)[0].complete


def test_a_bomb_is_refused_by_its_header(tmp_path):
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))
    with pytest.raises(SourceError, match="60000x60000"):
        read(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"words", "not a picture"),
        (b"\xff\xd8\xff\xe0", "damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
    ],
)
def test_what_is_no_picture(tmp_path, content, says):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=says):
        read(path)


def test_no_file(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        read(tmp_path / "none.jpg")
    with pytest.raises(SourceError, match="not a regular file"):
        read(tmp_path)
    with pytest.raises(InvalidInput, match="max_pixels"):
        ImageFile(tmp_path, max_pixels=0)


@pytest.mark.parametrize("name", ["ünï cødé 图.png", "with space.png", "img_%02d.png", "-y.png"])
def test_names_are_only_names(tmp_path, monkeypatch, name):
    write(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert read(name)[1].width == 60


def test_random_headers_never_escape_as_other_errors(tmp_path):
    rng = np.random.default_rng(1)
    path = tmp_path / "face"
    for suffix in SUFFIXES:
        data = np.frombuffer(encode(picture(), suffix), np.uint8)
        for _ in range(40):
            broken = data.copy()
            broken[rng.integers(4, min(80, data.size), 6)] = rng.integers(0, 256, 6)
            path.write_bytes(broken.tobytes())
            try:
                read_picture(path, 100_000)
            except SourceError:
                continue


def test_natural_order():
    names = ["frame10.png", "frame2.png", "Frame1.png", "frame02.png", "a.png", "1.png", "²x.png"]
    assert sorted(names, key=natural_key) == [
        "1.png", "a.png", "Frame1.png", "frame02.png", "frame2.png", "frame10.png", "²x.png",
    ]  # fmt: skip


def folder(tmp_path, names, size=lambda index: (40, 60)):
    for index, name in enumerate(names):
        write(tmp_path / name, np.full((*size(index), 3), index * 10, np.uint8))
    return tmp_path


def test_a_folder_is_a_video(tmp_path):
    folder(tmp_path, ["f1.png", "f2.png", "f10.png"], size=lambda index: (40 + index, 60))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._f1.png").write_bytes(b"left behind by a Mac")
    (tmp_path / "sub.png").mkdir()
    with ImageFolder(tmp_path, 5.0) as source:
        frames = list(source.frames())
    assert [(frame.index, frame.time_s, frame.pixels[0, 0, 0]) for frame in frames] == [
        (0, 0, 0),
        (1, 0.2, 10),
        (2, 0.4, 20),
    ]
    assert [frame.height for frame in frames] == [40, 41, 42]
    assert (source.complete, source.incomplete_reason, source.is_still, source.frame_count) == (True, None, False, 3)


def test_an_unreadable_picture_leaves_its_place_empty(tmp_path):
    folder(tmp_path, ["1.png", "2.png", "3.png"])
    (tmp_path / "2.png").write_bytes(b"broken")
    with ImageFolder(tmp_path, 10.0) as source:
        assert [frame.time_s for frame in source.frames()] == [0.0, 0.2]
    assert not source.complete
    assert source.incomplete_reason.startswith("1 of 3 pictures could not be read whole: 2.png: not a picture")


def test_a_picture_that_was_cut_off_is_shown_and_named(tmp_path):
    folder(tmp_path, ["1.jpg"])
    noise = encode(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8), ".jpg")
    (tmp_path / "2.jpg").write_bytes(noise[:-500])
    with ImageFolder(tmp_path, 10.0) as source:
        assert len(list(source.frames())) == 2
    assert source.incomplete_reason == "1 of 2 pictures could not be read whole: 2.jpg: the JPEG picture is cut short"


def test_many_failures_are_counted_not_listed(tmp_path):
    folder(tmp_path, [f"{index}.png" for index in range(9)])
    for index in range(8):
        (tmp_path / f"{index}.png").write_bytes(b"broken")
    with ImageFolder(tmp_path, 10.0) as source:
        list(source.frames())
    assert source.incomplete_reason.endswith("; and 5 more")


def test_no_picture_at_all(tmp_path):
    with pytest.raises(SourceError, match="no picture in it"):
        ImageFolder(tmp_path, 10.0)
    (tmp_path / "1.png").write_bytes(b"broken")
    with ImageFolder(tmp_path, 10.0) as source, pytest.raises(SourceError, match="none of its 1 pictures"):
        list(source.frames())


def test_not_a_folder(tmp_path):
    with pytest.raises(SourceError, match="does not exist"):
        ImageFolder(tmp_path / "none", 10.0)
    with pytest.raises(SourceError, match="is not a folder"):
        ImageFolder(write(tmp_path / "1.png"), 10.0)


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf"), 1001.0])
def test_fps_is_checked(tmp_path, fps):
    with pytest.raises(InvalidInput, match="fps"):
        ImageFolder(tmp_path, fps)
