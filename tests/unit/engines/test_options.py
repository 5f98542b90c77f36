"""What may be asked of a build."""

from __future__ import annotations

import pytest

from deepfake_edge.engines.options import BatchProfile, BuildOptions
from deepfake_edge.errors import InvalidInput


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 3), (1, 4, 3), (1, 1, 1025), (1, 2.0, 3), (True, 1, 1)])
def test_batches_are_in_order_and_bounded(sizes):
    with pytest.raises(InvalidInput, match="batch: wanted the least"):
        BatchProfile(*sizes)


def test_the_default_is_for_one_face_to_sixteen():
    assert BuildOptions().batch.sizes == (1, 8, 16)


def test_a_workspace_is_no_crumb():
    with pytest.raises(InvalidInput, match="1MiB"):
        BuildOptions(workspace_bytes=1024)
