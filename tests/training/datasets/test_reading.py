from __future__ import annotations

from collections import Counter

import pytest

from deepfake_edge.errors import InvalidInput
from deepfake_edge.training.datasets.reading import ReadOptions
from training.datasets import trees
from training.datasets.found import no_one_is_in_two, read, splits


def test_faceforensics_in_its_published_split(tmp_path):
    found = read(trees.faceforensics(tmp_path))
    youtube = [entry for entry in found.entries if entry.dataset == "FaceForensics++"]
    assert Counter((entry.split, entry.label) for entry in youtube) == {
        (split, label): count for split in ("train", "val", "test") for label, count in (("real", 2), ("fake", 10))
    }
    assert {entry.manipulation for entry in youtube} == {None, *trees.METHODS}
    swap = next(entry for entry in youtube if entry.source.endswith("FaceSwap/c23/videos/720_672.mp4"))
    assert (swap.label, swap.split, swap.identities) == ("fake", "val", ("youtube-720", "youtube-672"))
    assert no_one_is_in_two(found)


def test_the_actors_of_faceforensics_are_a_data_set_of_their_own(tmp_path):
    found = read(trees.faceforensics(tmp_path))
    actors = [entry for entry in found.entries if entry.dataset == "DeepFakeDetection"]
    assert {entry.label for entry in actors} >= {"real"}
    assert all(entry.identities == ("actor-01",) for entry in actors if "/01__" in entry.source)


def test_several_compressions_want_a_choice(tmp_path):
    trees.faceforensics(tmp_path, compressions=("c23", "c40"))
    with pytest.raises(InvalidInput, match=r"has c23, c40; name one.*--compression"):
        read(tmp_path)
    with pytest.raises(InvalidInput, match="has c23, c40, got 'raw'"):
        read(tmp_path, compression="raw")
    assert all("/c40/" in name for name in splits(read(tmp_path, compression="c40")))


def test_lists_may_lie_in_a_folder(tmp_path):
    trees.faceforensics(tmp_path)
    (tmp_path / "splits").mkdir()
    for name in ("train", "val", "test"):
        (tmp_path / f"{name}.json").rename(tmp_path / "splits" / f"{name}.json")
    assert splits(read(tmp_path))["original_sequences/youtube/c23/videos/720.mp4"] == "val"


@pytest.mark.parametrize("content", [b"{", b"7", b'[["33", "97"]]', b'["033"]', b"[[33, 97]]"])
def test_a_damaged_list_is_named(tmp_path, content):
    (trees.faceforensics(tmp_path) / "val.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"val\.json: wanted a list of pairs"):
        read(tmp_path)


def test_an_absent_list_is_named_and_can_be_done_without(tmp_path):
    (trees.faceforensics(tmp_path) / "val.json").unlink()
    with pytest.raises(InvalidInput, match=r"val\.json, the published split, is not in it.*--splits drawn"):
        read(tmp_path)
    assert no_one_is_in_two(read(tmp_path, splits="drawn"))


def test_names_that_a_data_set_does_not_give_are_refused(tmp_path):
    trees.faceforensics(tmp_path / "ff")
    trees.fill(tmp_path / "ff", [f"manipulated_sequences/FaceSwap/c23/videos/my{n}.mp4" for n in range(5)])
    with pytest.raises(InvalidInput, match=r"my0\.mp4.* and 2 more; move"):
        read(tmp_path / "ff")
    trees.fill(trees.celeb_df(tmp_path / "celeb"), ["Celeb-real/anna.mp4"])
    with pytest.raises(InvalidInput, match=r"Celeb-real/anna\.mp4"):
        read(tmp_path / "celeb")


def test_a_sequence_that_no_list_has_is_refused(tmp_path):
    trees.fill(trees.faceforensics(tmp_path), ["original_sequences/youtube/c23/videos/500.mp4"])
    with pytest.raises(InvalidInput, match=r"in none of its lists: 500\.mp4"):
        read(tmp_path)


def test_celeb_df_leaves_out_whom_the_test_set_shows(tmp_path):
    found = read(trees.celeb_df(tmp_path))
    tested = {name for name, split in splits(found).items() if split == "test"}
    assert tested == {"YouTube-real/00001.mp4", "Celeb-real/id0_0000.mp4", "Celeb-synthesis/id0_id1_0000.mp4"}
    assert "Celeb-real/id2_0000.mp4" in splits(found)
    assert not {"Celeb-real/id0_0001.mp4", "Celeb-real/id1_0000.mp4", "Celeb-synthesis/id1_id2_0000.mp4",
                "Celeb-synthesis/id2_id0_0000.mp4"} & set(splits(found))  # fmt: skip
    assert no_one_is_in_two(found)
    (note,) = [note for note in found.notes if "left out" in note]
    assert sum(int(word) for word in note.split() if word.isdigit()) == 5


def test_the_published_split_of_celeb_df_can_be_kept(tmp_path):
    found = read(trees.celeb_df(tmp_path), splits="published")
    assert len(found.entries) == 11
    assert Counter(splits(found).values())["test"] == 3
    assert any("published split kept" in note and "1 Celeb-synthesis" in note for note in found.notes)


def test_people_can_be_drawn(tmp_path):
    found = read(trees.celeb_df(tmp_path, people=40), splits="drawn")
    assert no_one_is_in_two(found)
    counts = Counter(entry.split for entry in found.entries)
    assert counts["train"] > 50
    assert counts["test"] > 2
    assert counts["val"] > 2
    (tmp_path / "List_of_testing_videos.txt").unlink()
    assert read(tmp_path, splits="drawn") == found
    with pytest.raises(InvalidInput, match=r"List_of_testing_videos\.txt: is not there"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2 Celeb-real/id0_0000.mp4", "line 2: wanted"),
        ("Celeb-real/id0_0000.mp4", "line 2: wanted"),
        ("0 Celeb-real/id0_0000.mp4", "labels that are not their folders'"),
    ],
)
def test_a_damaged_test_list_is_named(tmp_path, line, words):
    (trees.celeb_df(tmp_path) / "List_of_testing_videos.txt").write_text(f"1 YouTube-real/00001.mp4\n{line}\n")
    with pytest.raises(InvalidInput, match=words):
        read(tmp_path)


def test_listed_clips_that_are_not_there_are_counted(tmp_path):
    (trees.celeb_df(tmp_path) / "Celeb-real/id0_0000.mp4").unlink()
    assert "1 of the 3 clips in List_of_testing_videos.txt are not in the folder" in read(tmp_path).notes


def test_plain_folders_with_splits_are_taken_as_they_are(tmp_path):
    names = [
        f"{split}/{label}/{n}.mp4" for split in ("train", "val", "test") for label in ("real", "fake") for n in "12"
    ]
    trees.fill(tmp_path, [*names, "train/fake/swap/3.webm", "train/real/.4.mp4", "train/real/notes.txt"])
    found = read(tmp_path)
    assert {name: name.partition("/")[0] for name in [*names, "train/fake/swap/3.webm"]} == splits(found)
    assert [entry.manipulation for entry in found.entries if entry.manipulation] == ["swap"]
    assert {entry.dataset for entry in found.entries} == {tmp_path.name}


def test_plain_folders_without_splits_keep_a_name_together(tmp_path):
    trees.fill(tmp_path, [f"{place}/{n}.mp4" for place in ("real", "fake/swap", "fake/blend") for n in range(40)])
    found = read(tmp_path)
    assert len(found.entries) == 120
    assert {entry.split for entry in found.entries} == {"train", "val", "test"}
    assert no_one_is_in_two(found)


def test_an_absent_val_folder_is_drawn_from_train(tmp_path):
    for place in ("train/real", "train/fake", "test/real", "test/fake"):
        trees.fill(tmp_path / place, [f"{n}.mp4" for n in range(30)])
    found = read(tmp_path)
    assert {split for name, split in splits(found).items() if name.startswith("test")} == {"test"}
    assert {split for name, split in splits(found).items() if name.startswith("train")} == {"train", "val"}


def test_a_part_without_clips_is_said(tmp_path):
    trees.fill(tmp_path, ["train/real/1.mp4", "val/real/2.mp4"])
    assert f"{tmp_path.name}: no clip is in test" in read(tmp_path).notes


def test_a_part_of_one_label_is_said(tmp_path):
    names = ["train/real/1.mp4", "train/fake/1.mp4", "val/fake/1.mp4", "test/real/1.mp4", "test/real/2.mp4"]
    notes = read(trees.fill(tmp_path, names)).notes
    assert notes == (f"{tmp_path.name}: test has no fakes", f"{tmp_path.name}: val has no real clips")


def test_a_subset_that_leaves_a_part_one_label_is_said(tmp_path):
    trees.fill(tmp_path, [f"{split}/{label}/1.mp4" for split in ("train", "val", "test") for label in ("real", "fake")])
    assert read(tmp_path).notes == ()
    found = read(tmp_path, most=3)
    missing = {"real": "fakes", "fake": "real clips"}
    for entry in found.entries:
        assert f"{tmp_path.name}: {entry.split} has no {missing[entry.label]}" in found.notes


def test_unknown_layouts_and_options_are_refused(tmp_path):
    for folder, words in ((tmp_path, "no known layout"), (tmp_path / "gone", "does not exist")):
        with pytest.raises(InvalidInput, match=words):
            read(folder)
    (tmp_path / "real").mkdir()
    with pytest.raises(InvalidInput, match="no clip in it"):
        read(tmp_path)
    trees.fill(tmp_path, ["real/1.mp4"])
    with pytest.raises(InvalidInput, match=r"goes with FaceForensics\+\+ alone"):
        read(tmp_path, compression="c23")
    with pytest.raises(InvalidInput, match="wanted one of auto"):
        ReadOptions(kind="ff")
    with pytest.raises(InvalidInput, match="at least 1"):
        ReadOptions(most=0)
    trees.fill(tmp_path, ["train/real/1.mp4"])
    with pytest.raises(InvalidInput, match="beside split folders"):
        read(tmp_path)


def test_a_folder_of_two_layouts_wants_a_choice(tmp_path):
    trees.fill(trees.dfdc(tmp_path), ["real/1.mp4", "fake/1.mp4"])
    with pytest.raises(InvalidInput, match="may be dfdc or plain; name one, for example: --kind dfdc"):
        read(tmp_path)
    found = read(tmp_path, kind="plain")
    assert set(splits(found)) == {"real/1.mp4", "fake/1.mp4"}
    note = "videos that are not read, by this layout: 4, such as dfdc_train_part_0/a0.mp4"
    assert note in found.notes


def test_videos_that_lie_where_the_layout_has_none_are_counted(tmp_path):
    trees.fill(trees.celeb_df(tmp_path), [f"Celeb-synthesis/TalkingFace/id0_id1_000{n}.MP4" for n in range(3)])
    trees.fill(tmp_path, ["Youtube-real/00002.mp4", "Youtube-real/._00002.mp4"])
    assert "videos that are not read, by this layout: 4, such as Celeb-synthesis/TalkingFace/id0_id1_0000.MP4" in (
        read(tmp_path).notes
    )


def test_a_subset_is_even_and_the_same_each_time(tmp_path):
    trees.faceforensics(tmp_path)
    found = read(tmp_path, most=18)
    assert found == read(tmp_path, most=18)
    assert len(found.entries) == 18
    counts = Counter((entry.split, entry.label) for entry in found.entries)
    assert all(counts[split, "real"] >= 2 for split in ("train", "val", "test"))
    assert (
        max(Counter((entry.split, entry.manipulation) for entry in found.entries if entry.manipulation).values()) == 1
    )
    assert any(note.startswith("18 of ") for note in found.notes)


def test_a_subset_larger_than_the_data_set_is_all_of_it(tmp_path):
    trees.dfdc(tmp_path)
    assert read(tmp_path, most=100) == read(tmp_path)
