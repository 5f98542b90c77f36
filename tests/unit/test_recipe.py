"""Which bundles judge together: what is taken, and what is refused with the entry's name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deepfake_edge.errors import BundleError, InvalidInput
from deepfake_edge.recipe import MAX_MODELS, recipe_of
from fakes import bright_means_fake


def write(folder: Path, content: object) -> Path:
    path = folder / "ensemble.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def models(*weights: object) -> list[dict[str, object]]:
    return [{"bundle": f"{index}.dfe", "weight": weight} for index, weight in enumerate(weights)]


def test_a_single_bundle_is_a_recipe_of_one():
    recipe = recipe_of("model.dfe")
    assert [(str(entry.bundle), entry.weight) for entry in recipe.entries] == [("model.dfe", 1.0)]
    assert recipe.threshold is None


def test_weights_are_shares_and_paths_are_relative_to_the_file(tmp_path):
    elsewhere = str(tmp_path / "other" / "b.dfe")
    content = [{"bundle": "sub/a.dfe", "weight": 3}, {"bundle": elsewhere, "weight": 1}]
    recipe = recipe_of(write(tmp_path, {"models": content, "threshold": 0.4}))
    assert [entry.bundle for entry in recipe.entries] == [tmp_path / "sub" / "a.dfe", Path(elsewhere)]
    assert [entry.weight for entry in recipe.entries] == [0.75, 0.25]
    assert recipe.threshold == 0.4


def test_a_list_weighs_the_same_unless_told():
    assert [entry.weight for entry in recipe_of(["a.dfe", Path("b.dfe")]).entries] == [0.5, 0.5]
    assert [entry.weight for entry in recipe_of(["a.dfe", "b.dfe"], [1, 4]).entries] == [0.2, 0.8]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"models": models(1, 0)}, r"models\[1\].weight: wanted a number from .*, got 0"),
        ({"models": models(-1)}, r"models\[0\].weight"),
        ({"models": models(True)}, r"models\[0\].weight.*got True"),
        ({"models": models("1")}, r"models\[0\].weight"),
        ({"models": models(None)}, r"models\[0\].weight"),
        ({"models": models(10**400)}, r"models\[0\].weight: .*\.\.\.$"),
        ('{"models": [{"bundle": "a.dfe", "weight": NaN}]}', "NaN is no number"),
        ('{"models": [{"bundle": "a.dfe", "weight": -Infinity}]}', "-Infinity is no number"),
        ('{"models": [{"bundle": "a.dfe", "weight": 1e999}]}', r"models\[0\].weight.*got inf"),
        ('{"models": [{"bundle": "a.dfe", "weight": 1, "weight": 2}]}', "stands twice"),
        ({"models": [{"bundle": "rtsp://user:secret@host/a.dfe", "weight": 1}]}, "an address"),
        ({"models": [{"bundle": "", "weight": 1}]}, r"models\[0\].bundle: wanted a path"),
        ({"models": [{"bundle": 7, "weight": 1}]}, r"models\[0\].bundle: wanted a path"),
        ({"models": [{"bundle": "other.JSON", "weight": 1}]}, "no other ensemble"),
        ({"models": [{"bundle": "a.dfe"}]}, r"models\[0\]: missing keys \['weight'\]"),
        ({"models": [{"bundle": "a.dfe", "weight": 1, "sha": ""}]}, r"models\[0\]: .*unknown keys \['sha'\]"),
        ({"models": [[]]}, r"models\[0\]: wanted an object, got list"),
        ({"models": [{"bundle": "x/../a.dfe", "weight": 1}, {"bundle": "a.dfe", "weight": 1}]}, r"\[1\].*models\[0\]"),
        ({"models": []}, "from 1 to 16, got 0"),
        ({"models": models(*[1] * (MAX_MODELS + 1))}, "from 1 to 16, got 17"),
        ({"models": {}}, "models: wanted a list, got dict"),
        ({"models": models(1), "threshold": 2}, "threshold: wanted a number from 0 to 1, got 2"),
        ({"models": models(1), "threshold": None}, "threshold"),
        ({"models": models(1), "weights": [1]}, "unknown keys"),
        ({"threshold": 0.5}, r"missing keys \['models'\]"),
        ([], "the file: wanted an object, got list"),
        ("", "is not JSON"),
        ("[" * 60_000, "is not JSON"),
        (" " * 70_000, "more than an ensemble file may have"),
        ("7" * 5000, "is not JSON|wanted an object"),
    ],
)
def test_an_ensemble_file_that_is_wrong_is_refused_by_name(tmp_path, content, match):
    (tmp_path / "x").mkdir()
    with pytest.raises(BundleError, match=match) as error:
        recipe_of(write(tmp_path, content))
    assert "ensemble.json" in str(error.value)
    assert "secret" not in str(error.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "ensemble.json").write_bytes(b'{"models": "\xff\xfe"}')
    with pytest.raises(BundleError, match="is not JSON"):
        recipe_of(tmp_path / "ensemble.json")


@pytest.mark.parametrize("name", ["absent.json", "folder.json"])
def test_what_cannot_be_read_is_refused(tmp_path, name):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(BundleError, match=name):
        recipe_of(tmp_path / name)


@pytest.mark.parametrize(
    ("model", "weights", "match"),
    [
        (["a.dfe", "b.dfe"], [1.0], "wanted 2, one a bundle, got 1"),
        (["a.dfe", "b.dfe"], [1.0, float("nan")], r"models\[1\].weight"),
        (["a.dfe", "a.dfe"], None, "name each bundle once"),
        (["a.dfe", "b.json"], None, "no other ensemble"),
        ([], None, "got 0"),
        ("a.dfe", [1.0], "a list of bundles"),
        (7, None, "wanted a path or a list of paths, got int"),
    ],
)
def test_a_list_that_is_wrong_is_refused(model, weights, match):
    with pytest.raises(InvalidInput, match=match):
        recipe_of(model, weights)


def test_thresholds_that_differ_need_one_to_decide(tmp_path):
    specs = [bright_means_fake(threshold=value).spec for value in (0.5, 0.7)]
    with pytest.raises(InvalidInput, match=r"the members have 0\.5, 0\.7"):
        recipe_of(["a.dfe", "b.dfe"]).decided_threshold(specs)
    assert recipe_of(["a.dfe", "b.dfe"]).decided_threshold(specs[1:] * 2) == 0.7
    told = recipe_of(write(tmp_path, {"models": models(1, 1), "threshold": 0}))
    assert told.decided_threshold(specs) == 0.0
