from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_edge import cache


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for name in ("DEEPFAKE_EDGE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_own_variable_wins_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache.cache_dir() == tmp_path / "mine"
    assert not (tmp_path / "mine").exists()


def test_empty_variable_is_not_set(monkeypatch, tmp_path):
    monkeypatch.setenv("DEEPFAKE_EDGE_CACHE", "")
    assert cache.cache_dir().name == "deepfake-edge"


@pytest.mark.parametrize(
    ("platform", "variable", "value", "wanted"),
    [
        ("linux", None, None, ".cache"),
        ("linux", "XDG_CACHE_HOME", "/xdg", "/xdg"),
        ("linux", "XDG_CACHE_HOME", "relative", ".cache"),
        ("darwin", "XDG_CACHE_HOME", "/xdg", "Library/Caches"),
        ("win32", "LOCALAPPDATA", "/local", "/local"),
        ("win32", None, None, "AppData/Local"),
    ],
)
def test_platforms(monkeypatch, tmp_path, platform, variable, value, wanted):
    if variable:
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr(cache.sys, "platform", platform)
    assert cache.cache_dir() == Path(tmp_path, wanted, "deepfake-edge")
