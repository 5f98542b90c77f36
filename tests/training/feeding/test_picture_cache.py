from __future__ import annotations

import shutil

import numpy as np
import pytest

from deepfake_edge.errors import SourceError
from deepfake_edge.training.feeding.picture_cache import PictureCache
from deepfake_edge.training.preparing.prepared import read_prepared


@pytest.fixture
def clip(prepared, tmp_path):
    """A clip whose files may be removed."""
    folder = tmp_path / "prepared"
    shutil.copytree(prepared.folder, folder)
    return read_prepared(folder).clips[0]


def test_a_window_is_the_clips_pictures_in_their_order(clip):
    window = PictureCache(1 << 20).window(clip, [5, 3, 3])
    assert all(np.array_equal(*pair) for pair in zip(window.pictures, clip.pictures([5, 3, 3]), strict=True))
    assert window.boxes == (clip.boxes[5], clip.boxes[3], clip.boxes[3])
    assert window.landmarks == (clip.landmarks[5], None, None)
    assert not any(pixels.flags.writeable for pixels in window.pictures)


def test_pictures_are_read_once_while_there_is_room(clip):
    sizes = [pixels.nbytes for pixels in clip.pictures([0, 1, 2])]
    cache = PictureCache(sizes[0] + sizes[1])
    first = cache.window(clip, [0, 1, 2])
    shutil.rmtree(clip.folder)
    again = cache.window(clip, [1, 0])
    assert again.pictures[0] is first.pictures[1]
    assert again.pictures[1] is first.pictures[0]
    with pytest.raises(SourceError, match=r"002\.png"):
        cache.window(clip, [2])
