"""Your own clips.

    real/*.mp4  fake/*.mp4  fake/METHOD/*.mp4      all three optionally below train/, val/ and test/

Nobody is named. Clips of one name (`real/anna.mp4`, `fake/swap/anna.mp4`) are taken for an original and its fakes and
are kept together; with split folders, those of one split.
"""

from __future__ import annotations

from pathlib import Path

from deepfake_edge.containers import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.entries import LABELS, SPLITS, ClipEntry, Listing, Split, list_files

LAYOUT = "real/ and fake/, optionally below train/, val/ and test/"


def recognises(folder: Path) -> bool:
    """Whether a folder has this layout."""
    return any((place / label).is_dir() for place in _places(folder) for label in LABELS)


def listing(folder: Path, published: bool) -> Listing:
    """Every clip and picture.

    Args:
        folder: the data set.
        published: whether the split folders are kept; else clips of one name belong together in all of them.
    Raises:
        InvalidInput: the folder has split folders and labels beside them.
    """
    places = _places(folder)
    if places != [folder] and any((folder / label).is_dir() for label in LABELS):
        raise InvalidInput(f"{folder}: has real/ or fake/ beside split folders; wanted {LAYOUT}")
    entries = []
    for place in places:
        split: Split = next((name for name in SPLITS if place == folder / name), "train")
        for label in LABELS:
            for path in list_files(place / label, VIDEO_SUFFIXES | IMAGE_SUFFIXES, below=True):
                below = path.relative_to(place / label).parts
                kind = below[0] if label == "fake" and len(below) > 1 else None
                source = path.relative_to(folder).as_posix()
                group = f"{split}/{path.stem}" if published and place != folder else path.stem
                entries.append(ClipEntry(source, label, split, folder.resolve().name, kind, (), group))
    return Listing(tuple(entries))


def _places(folder: Path) -> list[Path]:
    """The folders that may have real/ and fake/ in them: the splits', else the folder itself."""
    splits = [folder / split for split in SPLITS if any((folder / split / label).is_dir() for label in LABELS)]
    return splits or [folder]
