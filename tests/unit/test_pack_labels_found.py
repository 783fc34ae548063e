"""Which images have labels: decided by all of them, never by one; and which form of a dataset is taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rawdata import camvid, labels, picture, save
from shardsets import by_key

from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.info import omissions
from cirn_dist.errors import DataError

SPACE = {"label_space": "camvid11"}


def stills(raw: Path, count: int = 4) -> Path:
    for number in range(count):
        save(raw / f"701_StillsRaw_full/0001TP_{6690 + 30 * number:06d}.png", picture(number))
        truth = labels(0, [0]).repeat(3).reshape(16, 24, 3)
        save(raw / f"LabeledApproved_full/0001TP_{6690 + 30 * number:06d}_L.png", truth)
    return raw


def city(raw: Path, count: int = 4, kinds: tuple[str, ...] = ("labelIds",)) -> Path:
    for number in range(count):
        save(raw / f"leftImg8bit/train/ulm/ulm_{number:06d}_leftImg8bit.png", picture(number))
        for kind in kinds:
            save(
                raw / f"gtFine/train/ulm/ulm_{number:06d}_gtFine_{kind}.png",
                labels(number, [7, 8]) * (kind == "labelIds"),
            )
    return raw


@pytest.mark.parametrize("wanted", [None, True])
@pytest.mark.parametrize("lost", [0, 2, 3])
@pytest.mark.parametrize(
    ("recipe", "make", "label"),
    [
        ("camvid", camvid, "trainannot/0001TP_{:06d}.png"),
        ("camvid", stills, "LabeledApproved_full/0001TP_{:06d}_L.png"),
        ("cityscapes", city, "gtFine/train/ulm/ulm_{:06d}_gtFine_labelIds.png"),
    ],
)
def test_a_missing_label_is_named_whichever_it_is(recipe, make, label, lost, wanted, tmp_path):
    raw = make(tmp_path / "raw", 4)
    place = label.format(lost if recipe == "cityscapes" else 6690 + 30 * lost)
    (raw / place).unlink()
    reason = f"{place}: 1 labels are missing, this one first; 3 images have one; add them, or pack without labels"
    with pytest.raises(DataError, match=reason):
        pack(recipe, raw, tmp_path / "out", labels=wanted)
    assert not (tmp_path / "out").exists()
    assert len(pack(recipe, raw, tmp_path / "images", labels=False)) == 4


@pytest.mark.parametrize(
    ("recipe", "make", "folder", "pattern"),
    [
        ("camvid", stills, "LabeledApproved_full", r"LabeledApproved_full/\{1\}_L.png"),
        ("cityscapes", city, "gtFine", r"gtFine/train/\{1\}/\{2\}_gtFine_labelIds.png"),
        ("camvid", camvid, "trainannot", r"trainannot/\{1\}.png"),
    ],
)
def test_where_labels_were_looked_for_is_said_when_there_are_none(recipe, make, folder, pattern, tmp_path, caplog):
    raw = make(tmp_path / "raw")
    shutil.move(raw / folder, raw / "elsewhere")  # as in Kaggle's train_labels, or an archive that is not unpacked
    shards = pack(recipe, raw, tmp_path / "out")
    assert not shards.has_labels
    said = rf"no labels: none of \d images has one at {pattern}, packed as images alone"
    assert any(__import__("re").fullmatch(said, note) for note in omissions(shards.meta))
    assert "packed as images alone" in caplog.text
    with pytest.raises(DataError, match=rf"the images have no labels: none of \d has one at {pattern}"):
        pack(recipe, raw, tmp_path / "demanded", labels=True)
    quiet = pack(recipe, raw, tmp_path / "alone", labels=False)
    assert not any("no labels" in note for note in omissions(quiet.meta)), "nobody asked for labels"


def test_a_folder_of_labels_that_fit_no_image_is_not_taken_for_none(tmp_path):
    raw = tmp_path / "raw"
    for key in "abc":
        save(raw / f"train/images/{key}.png", picture(1))
        save(raw / f"train/labels/{key}_mask.png", labels(1, [0]))
    reason = r"none of 3 has one at train/labels/\{1\}\.png, though 3 files lie there, first train/labels/a_mask\.png"
    with pytest.raises(DataError, match=reason):
        pack("folder", raw, tmp_path / "out", options=SPACE)
    raw = city(tmp_path / "city", kinds=("color", "instanceIds"))
    with pytest.raises(DataError, match="though 8 files lie there, first gtFine/train/ulm/ulm_000000_gtFine_color"):
        pack("cityscapes", raw, tmp_path / "out")


def test_the_form_with_the_most_labels_is_taken(tmp_path):
    raw = city(tmp_path / "raw", 4, ("labelIds", "labelTrainIds"))
    (raw / "gtFine/train/ulm/ulm_000000_gtFine_labelIds.png").unlink()
    shards = pack("cityscapes", raw, tmp_path / "out", size="original")  # labelTrainIds, which are all zero here
    assert (len(shards), shards.meta["class_pixels"][0]) == (4, 4 * 24 * 16)
    raw = stills(camvid(tmp_path / "both", 2), 3)
    shards = pack("camvid", raw, tmp_path / "stills", size="original")
    assert len(shards) == 3
    assert "2 .png (of the form train/*.png)" in omissions(shards.meta)[-1]


@pytest.mark.parametrize("wanted", [None, False])
def test_the_form_with_the_most_images_is_taken(wanted, tmp_path):
    raw = tmp_path / "raw"
    save(raw / "train/images/only.png", picture(1))
    for number in range(3):
        save(raw / f"images/train/{number}.png", picture(number))
    shards = pack("folder", raw, tmp_path / "out", labels=wanted)
    assert sorted(by_key(shards)) == ["0", "1", "2"]
    assert "1 .png (of the form train/images/**.*)" in omissions(shards.meta)[-1]


@pytest.mark.parametrize("wanted", [None, False])
def test_a_form_that_looks_everywhere_takes_no_label_for_an_image(wanted, tmp_path):
    raw = tmp_path / "raw"
    for key in "ab":
        save(raw / f"images/{key}.png", picture(1))
        save(raw / f"labels/{key}.png", labels(1, [0]))
    shards = pack("folder", raw, tmp_path / "out", "all", labels=wanted, options=SPACE)
    assert sorted(by_key(shards)) == ["a", "b"]
    assert shards.has_labels == (wanted is None)


def test_a_label_that_several_images_share_is_told(tmp_path):
    recipe = tmp_path / "foggy.yaml"
    recipe.write_text(
        "name: foggy\nlabel_space: camvid11\nsplits: {train: {}}\n"
        "forms: [{images: 'fog/*_beta_*.png', labels: 'gt/{1}.png', key: '{1}-{2}'}]"
    )
    for beta in ("0.01", "0.02"):
        save(tmp_path / f"raw/fog/a_beta_{beta}.png", picture(1))
    save(tmp_path / "raw/gt/a.png", labels(1, [0]))
    shards = pack(recipe, tmp_path / "raw", tmp_path / "out")
    assert sorted(by_key(shards)) == ["a-0_01", "a-0_02"]
    assert omissions(shards.meta) == ("1 labels are each of several images, first gt/a.png",)


def test_a_recipe_that_names_no_labels_has_none_to_demand(tmp_path):
    save(tmp_path / "raw/a.png", picture(1))
    with pytest.raises(DataError, match=r"the recipe names no labels for \*\*\.\*"):
        pack("folder", tmp_path / "raw", tmp_path / "out", "all", labels=True)
    assert omissions(pack("folder", tmp_path / "raw", tmp_path / "out", "all").meta) == ()


def test_ranges_without_an_image_are_told_from_an_empty_folder(tmp_path):
    save(tmp_path / "raw/train/other.png", picture(1))
    with pytest.raises(DataError, match="1 are there, none of them in the split's ranges of keys"):
        pack("camvid", tmp_path / "raw", tmp_path / "out", labels=False)


def test_count_takes_that_many_of_a_fixed_mix(tmp_path):
    raw = camvid(tmp_path / "raw", 8)
    few, more = (pack("camvid", raw, tmp_path / str(count), options={"count": count}) for count in (3, 5))
    assert [few.key(i) for i in range(3)] == [more.key(i) for i in range(3)]
    assert sorted(by_key(few)) != sorted(by_key(pack("camvid", raw, tmp_path / "all")))[:3]
    with pytest.raises(DataError, match="count is 9, the split 'train' has 8 images"):
        pack("camvid", raw, tmp_path / "nine", options={"count": 9})


def test_a_split_below_a_folder_is_packed(tmp_path):
    recipe = tmp_path / "deep.yaml"
    recipe.write_text("name: deep\nsplits: {train/clear: {}}\nforms: [{images: '{split}/*.png', key: '{split}-{1}'}]")
    save(tmp_path / "raw/train/clear/a.png", picture(1))
    shards = pack(recipe, tmp_path / "raw", tmp_path / "out", "train/clear")
    assert sorted(by_key(shards)) == ["train-clear-a"]
