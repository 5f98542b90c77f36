"""Native preprocessing beside OpenCV, OpenCV's blob and Pillow: `python -m deepfake_edge.benchmarks.preprocess`.

All contenders cut a 320-pixel face out of a 1280 x 720 frame, make it 299 x 299 and normalise it into float32 planes.
They take turns in one process, so that a busy machine slows all of them alike: trust the ratios. How long fresh
arrays take depends on the state of the process's heap, so OpenCV and numpy compete twice: as commonly written
(`plain`) and reusing what they can (`in place`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from deepfake_edge.data import Floats, Frame, Pixels
from deepfake_edge.optional import require
from deepfake_edge.preprocess import crop_batch, kernel
from deepfake_edge.spec import CropSpec, Resize

cv2 = require("cv2")

WIDTH, HEIGHT, FACE, SIZE = 1280, 720, 320, 299
RESIZES: tuple[Resize, ...] = ("linear", "area", "bilinear", "bicubic")
# The filter of each library that comes nearest; its own one for `linear` and `area`, and for Pillow the other two.
OPENCV_KIN = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
}
PILLOW_KIN = {"linear": "BILINEAR", "area": "BOX", "bilinear": "BILINEAR", "bicubic": "BICUBIC"}
MEAN = np.float32(127.5)
SCALE = np.float32(1 / 127.5)


@dataclass(frozen=True, slots=True)
class Contest:
    """What is done, and everyone who does it: `native` first, then those it is measured against."""

    title: str
    faces: int
    threads: int
    contenders: dict[str, Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A frame in both layouts, the faces in it as (left, top), and a batch to fill."""

    picture: Pixels
    nv12: Frame
    corners: list[tuple[int, int]]
    out: Floats

    @property
    def boxes(self) -> Floats:
        return np.array([(x, y, x + FACE, y + FACE) for x, y in self.corners], np.float32)


def make_scene(faces: int) -> Scene:
    """A soft random picture: speed depends on its size only, but blurred bytes look more like a camera's."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    picture: Pixels = cv2.GaussianBlur(noise, (0, 0), 2)
    planar = cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420)
    uv = np.ascontiguousarray(planar[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2).transpose(1, 2, 0))
    nv12 = Frame(0, 0.0, (np.ascontiguousarray(planar[:HEIGHT]), uv), "NV12")
    corners = [(40 + 116 * i, 40 + 44 * i) for i in range(faces)]
    return Scene(picture, nv12, corners, np.empty((faces, 3, SIZE, SIZE), np.float32))


def plain(scene: Scene, interpolation: int, cut: Callable[[int, int], Pixels]) -> Floats:
    """OpenCV and numpy as they are commonly written: every step makes an array of its own."""
    planes = []
    for x, y in scene.corners:
        small = cv2.resize(cut(x, y), (SIZE, SIZE), interpolation=interpolation)
        values = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32)
        planes.append(((values - MEAN) * SCALE).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(planes))


def opencv(scene: Scene, interpolation: int, cut: Callable[[int, int], Pixels]) -> None:
    """OpenCV and numpy, in place wherever they can."""
    for out, (x, y) in zip(scene.out, scene.corners, strict=True):
        small = cv2.resize(cut(x, y), (SIZE, SIZE), interpolation=interpolation)
        values = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32)
        values -= MEAN
        values *= SCALE
        np.copyto(out, values.transpose(2, 0, 1))


def blob(scene: Scene, cut: Callable[[int, int], Pixels]) -> None:
    """OpenCV's own way of making a network's input."""
    crops = [cut(x, y) for x, y in scene.corners]
    cv2.dnn.blobFromImages(crops, float(SCALE), (SIZE, SIZE), (127.5, 127.5, 127.5), swapRB=True)


def pillow(scene: Scene, image_module: Any, filter_name: str, cut: Callable[[int, int], Pixels]) -> None:
    """Pillow, from the same BGR array."""
    resample = image_module.Resampling[filter_name]
    for out, (x, y) in zip(scene.out, scene.corners, strict=True):
        crop = image_module.fromarray(cv2.cvtColor(cut(x, y), cv2.COLOR_BGR2RGB))
        values = np.asarray(crop.resize((SIZE, SIZE), resample)).astype(np.float32)
        values -= MEAN
        values *= SCALE
        np.copyto(out, values.transpose(2, 0, 1))


def copier(scene: Scene) -> Callable[[], object]:
    """What no implementation can beat: reading the crops' bytes once and writing the batch once."""
    crops = np.zeros((len(scene.corners), FACE, FACE * 3), np.uint8)
    target, values = np.empty_like(crops), np.zeros_like(scene.out)

    def copy() -> None:
        np.copyto(target, crops)
        np.copyto(scene.out, values)

    return copy


def optional_pillow() -> Any:
    """Pillow's Image module, or None where it is not installed."""
    try:
        from PIL import Image
    except ImportError:
        return None
    return Image


def contests() -> Iterator[Contest]:
    """Every combination that is measured, one after the other."""
    image_module = optional_pillow()
    for faces in (1, 8):
        scene = make_scene(faces)
        for layout in ("BGR", "NV12"):
            for resize in RESIZES:
                for threads in (1, 2) if faces > 1 else (1,):
                    yield _contest(scene, layout, resize, threads, image_module)


def _contest(scene: Scene, layout: str, resize: Resize, threads: int, image_module: Any) -> Contest:
    spec, boxes = CropSpec(size_px=SIZE, resize=resize), scene.boxes
    image = scene.nv12 if layout == "NV12" else scene.picture

    # An NV12 crop is converted alone: the corners are even, as a careful caller would make them.
    def cut(x: int, y: int) -> Pixels:
        if layout == "BGR":
            return scene.picture[y : y + FACE, x : x + FACE]
        luma, chroma = scene.nv12.pixels
        halves = chroma[y // 2 : (y + FACE) // 2, x // 2 : (x + FACE) // 2]
        converted: Pixels = cv2.cvtColorTwoPlane(luma[y : y + FACE, x : x + FACE], halves, cv2.COLOR_YUV2BGR_NV12)
        return converted

    contenders: dict[str, Callable[[], object]] = {
        "native": lambda: crop_batch(image, boxes, spec, scene.out, threads),
        "plain": lambda: plain(scene, OPENCV_KIN[resize], cut),
        "opencv": lambda: opencv(scene, OPENCV_KIN[resize], cut),
        "copy": copier(scene),
    }
    if resize == "linear":
        contenders["blob"] = lambda: blob(scene, cut)
    if image_module is not None:
        contenders["pillow"] = lambda: pillow(scene, image_module, PILLOW_KIN[resize], cut)
    title = f"{layout} {resize}, {scene.out.shape[0]} face(s), {threads} thread(s)"
    return Contest(title, scene.out.shape[0], threads, contenders)


def measure(contest: Contest, repeats: int) -> dict[str, float]:
    """Median milliseconds of each contender, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in contest.contenders}
    for turn in range(repeats + 3):
        for name, run in contest.contenders.items():
            start = time.perf_counter()
            run()
            if turn >= 3:
                times[name].append((time.perf_counter() - start) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def table_row(contest: Contest, medians: dict[str, float]) -> str:
    """How many times as long as native each one takes; a dash where it has no such resize."""
    native = medians["native"]
    others = [
        f"{medians[name] / native:6.2f}x" if name in medians else "      -"
        for name in ("plain", "opencv", "blob", "pillow")
    ]
    return f"{contest.title:36} {native:8.3f} {'  '.join(others)}  {medians['copy'] / native:6.0%}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or JSON with every median."""
    parser = argparse.ArgumentParser(prog="python -m deepfake_edge.benchmarks.preprocess", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print medians in milliseconds as JSON")
    parser.add_argument("--repeats", type=int, default=101, help="turns for each row (default: 101)")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    rows = []
    if not options.json:
        print(f"kernels: {kernel()}; a {FACE}-pixel face of {WIDTH} x {HEIGHT} to {SIZE}; others use 1 thread")
        print(f"{'':36} native_ms    plain in place     blob   pillow  of copy limit")
    for contest in contests():
        medians = measure(contest, max(3, options.repeats // contest.faces))
        rows.append({"what": contest.title, "faces": contest.faces, "threads": contest.threads, "median_ms": medians})
        if not options.json:
            print(table_row(contest, medians), flush=True)
    if options.json:
        json.dump({"kernel": kernel(), "rows": rows}, sys.stdout, indent=2)
        print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
