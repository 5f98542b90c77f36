"""A tiny prepared folder for all of these tests."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from training.prepared_data import make_prepared

if not all(map(find_spec, ("tensorflow", "sklearn", "matplotlib"))):
    pytest.skip("the train extra is not installed", allow_module_level=True)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Two real and two fake clips of six consecutive pictures in each split."""
    return make_prepared(tmp_path_factory.mktemp("fitting") / "prepared", frames=6)
