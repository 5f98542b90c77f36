from __future__ import annotations

import builtins
import os
import sys
import types

import cv2
import numpy as np
import pytest

from deepfake_edge.data import Frame
from deepfake_edge.errors import InvalidInput, MissingDependency
from deepfake_edge.faces import cascade, haar, scrfd, yunet
from deepfake_edge.faces.cascade import Mtcnn
from deepfake_edge.faces.haar import Haar
from deepfake_edge.faces.scrfd import Scrfd, find_detector
from deepfake_edge.faces.whole import Whole
from deepfake_edge.faces.yunet import YuNet
from deepfake_edge.pictures import read_picture
from deepfake_edge.runtimes.ort import OnnxRuntimeNetwork

ODD_SIZES = [(1, 1), (1, 4000), (4000, 1), (2, 2), (31, 33), (700, 1300)]
needs_haar = pytest.mark.skipif(not hasattr(cv2, "CascadeClassifier"), reason="OpenCV 5 has no cascades")


def blank(height, width, index=0):
    return Frame(index, 0.0, np.full((height, width, 3), 127, np.uint8))


def as_format(bgr, kind):
    bgr = bgr[: bgr.shape[0] // 2 * 2, : bgr.shape[1] // 2 * 2]
    if kind == "BGR":
        return Frame(0, 0.0, np.ascontiguousarray(bgr))
    if kind == "RGB":
        return Frame(0, 0.0, np.ascontiguousarray(bgr[:, :, ::-1]), "RGB")
    height, width = bgr.shape[:2]
    planar = cv2.cvtColor(np.ascontiguousarray(bgr), cv2.COLOR_BGR2YUV_I420).reshape(-1)
    uv = planar[height * width :].reshape(2, height // 2, width // 2).transpose(1, 2, 0)
    return Frame(0, 0.0, (planar[: height * width].reshape(height, width), np.ascontiguousarray(uv)), "NV12")


def overlap(one, other):
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    both = max(right - left, 0) * max(bottom - top, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return both / (sum(areas) - both)


@pytest.fixture(scope="module")
def yunet_file(data_dir):
    return data_dir / "models" / "face_detection_yunet_2023mar.onnx"


@pytest.fixture(scope="module")
def make(data_dir, yunet_file):
    """A finder by name, made once."""
    made = {}

    def once(name):
        if name not in made:
            if name == "insightface":
                pytest.importorskip("insightface", reason="insightface is not installed", exc_type=ImportError)
                made[name] = Scrfd(data_dir / "models" / "yunet_s_scrfd_640.onnx", score_threshold=0.8)
            elif name == "mtcnn":
                pytest.importorskip("mtcnn", reason="mtcnn is not installed", exc_type=ImportError)
                made[name] = Mtcnn()
            else:
                made[name] = YuNet(yunet_file) if name == "yunet" else Haar()
        return made[name]

    return once


FINDERS = ["yunet", pytest.param("haar", marks=needs_haar), "insightface", "mtcnn"]
PHOTOS = {"astronaut.png": 1, "grace_hopper.jpg": 1, "two_people_obama_biden.jpg": 2, "noface_rocket.jpg": 0}


@pytest.mark.parametrize("name", FINDERS)
@pytest.mark.parametrize(("photo", "count"), PHOTOS.items())
def test_photographs(make, data_dir, name, photo, count):
    finder = make(name)
    (faces,) = finder.find([Frame(0, 0.0, read_picture(data_dir / "photos" / photo).pixels)])
    assert len(faces) == count
    assert all(0.0 <= face.score <= 1.0 for face in faces)
    assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)


@pytest.mark.parametrize("name", FINDERS)
def test_every_format_gives_the_same_faces(make, data_dir, name):
    finder = make(name)
    bgr = read_picture(data_dir / "photos" / "two_people_obama_biden.jpg").pixels
    kinds = finder.find([as_format(bgr, kind) for kind in ("BGR", "RGB", "NV12")])
    assert [len(faces) for faces in kinds] == [2, 2, 2]
    for faces in kinds[1:]:
        assert all(max(overlap(face.box_xyxy, first.box_xyxy) for first in kinds[0]) > 0.8 for face in faces)


@pytest.mark.parametrize("name", FINDERS)
def test_boxes_are_in_the_pixels_of_the_frame(make, data_dir, name):
    finder = make(name)
    bgr = read_picture(data_dir / "photos" / "two_people_obama_biden.jpg").pixels
    large = cv2.resize(bgr, None, fx=2, fy=2)
    small_faces, large_faces = finder.find([Frame(0, 0.0, bgr), Frame(1, 0.0, large)])
    for face in large_faces:
        halved = tuple(side / 2 for side in face.box_xyxy)
        assert max(overlap(halved, other.box_xyxy) for other in small_faces) > 0.7


@pytest.mark.parametrize("name", FINDERS)
@pytest.mark.parametrize(("height", "width"), ODD_SIZES)
def test_odd_sizes_are_empty_and_no_crash(make, name, height, width):
    assert make(name).find([blank(height, width)]) == [[]]


@pytest.mark.parametrize(("height", "width"), [(1, 640), (32, 640), (640, 32), (32, 32)])
def test_thin_frames_hold_no_faces_of_unwritten_memory(yunet_file, height, width):
    rng = np.random.default_rng(0)
    for _ in range(10):
        # Freed at once, so that what the detector allocates next is not zero.
        rng.standard_normal(rng.integers(10_000, 1_000_000), np.float32)
        assert YuNet(yunet_file, score_threshold=0.5).find([blank(height, width)]) == [[]]


@pytest.mark.parametrize("name", ["yunet", "insightface", "mtcnn"])
def test_landmarks_lie_on_the_face(make, data_dir, name):
    ((face,),) = make(name).find([Frame(0, 0.0, read_picture(data_dir / "photos" / "grace_hopper.jpg").pixels)])
    left, top, right, bottom = face.box_xyxy
    assert len(face.landmarks) == 5
    assert all(left < x < right and top < y < bottom for x, y in face.landmarks)


@pytest.mark.parametrize("name", FINDERS)
def test_nothing_is_printed(make, name, capfd):
    make(name).find([blank(100, 100)])
    assert capfd.readouterr().out == ""


def test_whole_is_the_frame():
    (first,), (second,) = Whole().find([blank(4, 6), as_format(np.zeros((8, 10, 3), np.uint8), "NV12")])
    assert (first.box_xyxy, first.score, first.landmarks) == ((0, 0, 6, 4), 1.0, None)
    assert second.box_xyxy == (0, 0, 10, 8)


def test_no_frames_no_faces(make):
    assert Whole().find([]) == []
    assert make("yunet").find([]) == []


def test_frames_of_changing_sizes(make, data_dir):
    finder = make("yunet")
    astronaut = Frame(0, 0.0, read_picture(data_dir / "photos" / "astronaut.png").pixels)
    hopper = Frame(1, 0.0, read_picture(data_dir / "photos" / "grace_hopper.jpg").pixels)
    together = finder.find([astronaut, hopper, blank(3, 3), astronaut])
    assert [len(faces) for faces in together] == [1, 1, 0, 1]
    assert together[0] == together[3]


# YuNet's model


def test_yunet_is_found_in_the_cache(tmp_path, monkeypatch, yunet_file):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path))
    assert yunet.find_model() is None
    with pytest.raises(MissingDependency, match=r"opencv_zoo.*face_detection_yunet_2023mar.onnx"):
        YuNet()
    path = tmp_path / "faces" / "face_detection_yunet_2023mar.onnx"
    assert yunet.default_path() == path
    path.parent.mkdir()
    path.write_bytes(yunet_file.read_bytes())
    assert yunet.find_model() == path
    assert YuNet().find([blank(64, 64)]) == [[]]


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\n", bytes(2000)])
def test_a_file_that_is_not_yunet(tmp_path, content):
    path = tmp_path / "yunet.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="not a YuNet model") as caught:
        YuNet(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["version-RFB-320.onnx", "yunet_s_scrfd_640.onnx"])
def test_another_network_is_not_yunet(data_dir, name):
    with pytest.raises(InvalidInput, match="not a YuNet model"):
        YuNet(data_dir / "models" / name)


@pytest.mark.parametrize("options", [{"score_threshold": 1.5}, {"score_threshold": float("nan")}, {"max_side_px": 1}])
def test_yunet_options_are_checked(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        YuNet("any.onnx", **options)


@pytest.mark.parametrize("name", ["a" * 300, os.fsdecode(b"\xff.onnx")])
def test_a_name_that_cannot_be_opened_is_no_model(name):
    with pytest.raises(InvalidInput, match="no name of a file"):
        YuNet(name)


@pytest.mark.parametrize("threads", [-1, 99999999999])
def test_threads_of_the_networks_that_follow_are_checked(threads):
    with pytest.raises(InvalidInput, match="threads"):
        OnnxRuntimeNetwork(b"", name="any", threads=threads)


# Haar


def test_an_opencv_without_cascades_says_so(monkeypatch):
    monkeypatch.setattr(haar, "cv2", types.SimpleNamespace(__version__="5.0.0", data=None))
    with pytest.raises(MissingDependency, match=r"OpenCV 5\.0\.0 has no Haar cascades"):
        Haar()


@pytest.mark.parametrize("options", [{"min_neighbours": 0}, {"max_side_px": 1}])
def test_haar_options_are_checked(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Haar(**options)


# insightface: looking for files needs neither the package nor the network


@pytest.fixture
def no_insightface(monkeypatch):
    """Importing it at all is a failure: it could download."""
    real = builtins.__import__

    def guarded(name, *rest, **more):
        assert not name.startswith("insightface"), "looked into insightface before the files were there"
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    monkeypatch.setattr(scrfd, "require", lambda *_, **__: pytest.fail("asked for insightface"))


@pytest.mark.usefixtures("no_insightface")
def test_a_pack_that_is_not_there_is_never_downloaded(tmp_path):
    with pytest.raises(MissingDependency, match="non-commercial research only") as caught:
        Scrfd("buffalo_l", root=tmp_path)
    assert str(tmp_path / "models" / "buffalo_l") in str(caught.value)
    with pytest.raises(MissingDependency, match="there is no such file"):
        Scrfd(tmp_path / "det.onnx")


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["1k3d68.onnx", "2d106det.onnx", "det_10g.onnx", "genderage.onnx", "w600k_r50.onnx"], "det_10g.onnx"),
        (["glintr100.onnx", "scrfd_10g_bnkps.onnx"], "scrfd_10g_bnkps.onnx"),
    ],
)
def test_the_detector_of_a_pack(tmp_path, files, wanted):
    folder = tmp_path / "models" / "pack"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    assert find_detector("pack", tmp_path) == folder / wanted
    assert find_detector(folder) == folder / wanted


def test_a_pack_without_a_detector(tmp_path):
    (tmp_path / "w600k_r50.onnx").touch()
    with pytest.raises(MissingDependency, match=r"found w600k_r50\.onnx"):
        find_detector(tmp_path)


@pytest.mark.parametrize("options", [{"score_threshold": -1.0}, {"size_px": 100}, {"size_px": 0}])
def test_scrfd_options_are_checked(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Scrfd("any", **options)


def test_the_licence_is_told():
    assert "non-commercial" in Scrfd.licence_note == scrfd.LICENCE_NOTE


def test_a_file_that_insightface_cannot_read(tmp_path, data_dir):
    pytest.importorskip("insightface", reason="insightface is not installed", exc_type=ImportError)
    path = tmp_path / "det.onnx"
    path.write_bytes(b"garbage")
    with pytest.raises(InvalidInput, match="not a model that insightface can read") as caught:
        Scrfd(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidInput, match="wanted a face detector"):
        Scrfd(data_dir / "models" / "version-RFB-320.onnx")


@pytest.mark.parametrize(("package", "make_one"), [("insightface", None), ("mtcnn", Mtcnn)])
def test_a_package_that_is_not_installed(monkeypatch, tmp_path, package, make_one):
    (tmp_path / "det.onnx").touch()
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setitem(sys.modules, f"{package}.model_zoo", None)
    with pytest.raises(MissingDependency, match=rf"deepfake-edge\[{package}\]"):
        make_one() if make_one else Scrfd(tmp_path / "det.onnx")


# mtcnn


def test_an_old_mtcnn_is_named(monkeypatch):
    monkeypatch.setattr(cascade, "require", lambda *_, **__: types.SimpleNamespace(MTCNN=lambda min_face_size=20: None))
    with pytest.raises(MissingDependency, match=r"older than 1\.0"):
        Mtcnn()


@pytest.mark.parametrize("options", [{"score_threshold": 2.0}, {"min_face_px": 5}, {"max_side_px": 1}])
def test_mtcnn_options_are_checked(options):
    with pytest.raises(InvalidInput, match=next(iter(options))):
        Mtcnn(**options)
