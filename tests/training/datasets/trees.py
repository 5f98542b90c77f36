"""Data sets in their real layouts, of empty files or of copies of a clip."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

METHODS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter")


def fill(folder: Path, names: Iterable[str], content: bytes = b"") -> Path:
    """Write files."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def faceforensics(folder: Path, content: bytes = b"", compressions: Iterable[str] = ("c23",)) -> Path:
    """Six sequences in three pairs, one a split, with all their fakes; two actors."""
    pairs = {"train": ("033", "097"), "val": ("720", "672"), "test": ("953", "974")}
    for split, pair in pairs.items():
        fill(folder, [f"{split}.json"], json.dumps([pair]).encode())
        for compression in compressions:
            originals = (f"original_sequences/youtube/{compression}/videos/{number}.mp4" for number in pair)
            fill(folder, originals, content)
            for method in METHODS:
                fakes = (f"{a}_{b}.mp4" for a, b in (pair, pair[::-1]))
                fill(folder / f"manipulated_sequences/{method}/{compression}/videos", fakes, content)
    for compression in compressions:
        actors = ["01__kitchen_pan.mp4", "02__kitchen_pan.mp4", "01__outside_talking_still_laughing.mp4"]
        fill(folder / f"original_sequences/actors/{compression}/videos", actors, content)
        fakes = ["01_02__kitchen_pan__YVGY8LOK.mp4"]
        fill(folder / f"manipulated_sequences/DeepFakeDetection/{compression}/videos", fakes, content)
    return folder


def celeb_df(folder: Path, content: bytes = b"", people: int = 3) -> Path:
    """Two clips of each celebrity, swaps between neighbours, and two clips of others; id0's first clips are tested."""
    for number in range(people):
        fill(folder, (f"Celeb-real/id{number}_000{clip}.mp4" for clip in range(2)), content)
        fill(folder, [f"Celeb-synthesis/id{number}_id{(number + 1) % people}_0000.mp4"], content)
    fill(folder, ["YouTube-real/00000.mp4", "YouTube-real/00001.mp4"], content)
    listed = "1 YouTube-real/00001.mp4\n1 Celeb-real/id0_0000.mp4\n0 Celeb-synthesis/id0_id1_0000.mp4\n"
    fill(folder, ["List_of_testing_videos.txt"], listed.encode())
    return folder


def dfdc(folder: Path, content: bytes = b"", parts: int = 1) -> Path:
    """Parts of two originals with a fake each."""
    for part in range(parts):
        place = folder / f"dfdc_train_part_{part}"
        records = {}
        for name in ("a", "b"):
            records[f"{name}{part}.mp4"] = {"label": "REAL", "split": "train"}
            records[f"{name}{part}fake.mp4"] = {"label": "FAKE", "split": "train", "original": f"{name}{part}.mp4"}
        fill(place, records, content)
        fill(place, ["metadata.json"], json.dumps(records).encode())
    return folder
