"""Packing each dataset's published form on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rawdata import camvid, labels, picture, png16, save
from shardsets import by_key, image_of, label_of

from cirn_dist.data.labels import IGNORE, label_space
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.shards.info import omissions
from cirn_dist.errors import CorruptSample, DataError

CITYSCAPES_TRAIN = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 26: 13, 33: 18}


def test_camvid_of_eleven_classes(tmp_path):
    raw = camvid(tmp_path / "raw")
    shards = pack("camvid", raw, tmp_path / "out", size="original")
    assert sorted(by_key(shards)) == ["0001TP_006690", "0001TP_006720", "0001TP_006750"]
    truth = np.asarray(Image.open(raw / "trainannot/0001TP_006720.png"))
    np.testing.assert_array_equal(label_of(shards, "0001TP_006720"), np.where(truth == 11, IGNORE, truth))
    np.testing.assert_array_equal(image_of(shards, "0001TP_006720"), picture(1))
    sample = shards.read(by_key(shards)["0001TP_006720"])
    assert sample["json"] == b'{"size": [24, 16], "source": "train/0001TP_006720.png"}'
    assert shards.label_space == label_space("camvid11")


def test_camvid_of_32_colours_splits_as_the_other_form(tmp_path):
    raw = tmp_path / "raw"
    colours = np.array([(128, 64, 128), (0, 0, 0), (192, 0, 64), (64, 128, 192)], np.uint8)  # road void lane SUV
    names = ["0001TP_006690", "0001TP_008550", "0016E5_07959", "0016E5_08190", "Seq05VD_f00000", "0006R0_f00930"]
    for name in names:
        save(raw / "701_StillsRaw_full" / f"{name}.png", picture(1))
        save(raw / "LabeledApproved_full" / f"{name}_L.png", colours[labels(1, [0, 1, 2, 3])])
    packed = {split: pack("camvid", raw, tmp_path / split, split) for split in ("train", "val", "test")}
    assert {split: sorted(by_key(shards)) for split, shards in packed.items()} == {
        "train": ["0001TP_006690", "0006R0_f00930", "0016E5_08190"],
        "val": ["0016E5_07959"],
        "test": ["0001TP_008550", "Seq05VD_f00000"],
    }
    truth = np.array([3, IGNORE, 3, 8], np.uint8)[labels(1, [0, 1, 2, 3])]
    np.testing.assert_array_equal(label_of(packed["val"], "0016E5_07959"), truth)


def test_gta5_palette_labels_are_indices_and_its_rgb_release_colours(tmp_path):
    raw = tmp_path / "raw"
    ids = labels(1, [0, 4, *CITYSCAPES_TRAIN, 34])
    truth = np.full(256, IGNORE)
    truth[list(CITYSCAPES_TRAIN)] = list(CITYSCAPES_TRAIN.values())
    save(raw / "images/00001.png", picture(1))
    save(raw / "labels/00001.png", ids, palette=True)
    assert Image.open(raw / "labels/00001.png").mode == "P"
    save(raw / "images/00002.png", picture(2))
    save(raw / "labels/00002.png", label_space("cityscapes19").colour(truth[ids]))
    shards = pack("gta5", raw, tmp_path / "out", size=(24, 16))
    for key in ("00001", "00002"):
        np.testing.assert_array_equal(label_of(shards, key), truth[ids])
    assert shards.fields == ("image.jpg", "json", "label.png")


def test_a_label_map_of_another_size_is_listed_and_left_out(tmp_path):
    raw = camvid(tmp_path / "raw", 10)
    save(raw / "trainannot/0001TP_006720.png", labels(0, [1, 2], 20, 16))
    shards = pack("camvid", raw, tmp_path / "out")
    assert len(shards) == 9
    assert "0001TP_006720" not in by_key(shards)
    reason = "its label map is 20x16, the image 24x16"
    assert shards.meta["left_out"] == [{"source": "train/0001TP_006720.png", "reason": reason}]
    assert omissions(shards.meta)[0] == f"left out: 1 of 10 images (10 %), first train/0001TP_006720.png: {reason}"


def test_synthias_sixteen_bit_labels(tmp_path):
    raw = tmp_path / "raw"
    classes = labels(1, [0, 3, 4, 8, 10, 22, 16, 12])
    truth = np.full(256, IGNORE)
    truth[[3, 4, 8, 10, 16, 12]] = [0, 1, 13, 11, 9, 17]
    save(raw / "RAND_CITYSCAPES/RGB/0000000.png", picture(1))
    instances = np.arange(classes.size).reshape(classes.shape) * 37 % 65536
    png16(raw / "RAND_CITYSCAPES/GT/LABELS/0000000.png", np.stack([classes, instances, instances * 0], -1))
    nineteen = pack("synthia", raw, tmp_path / "19", size="original")
    np.testing.assert_array_equal(label_of(nineteen, "0000000"), truth[classes])
    sixteen = pack("synthia", raw, tmp_path / "16", size="original", options={"label_space": "synthia16"})
    packed = label_of(sixteen, "0000000")
    assert set(np.unique(packed[classes == 16])) == {IGNORE}  # terrain
    assert set(np.unique(packed[classes == 8])) == {label_space("synthia16").classes.index("car")}
    save(raw / "RAND_CITYSCAPES/GT/LABELS/0000000.png", np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(CorruptSample, match=r"0000000\.png: not a 16-bit PNG"):
        pack("synthia", raw, tmp_path / "8")


@pytest.mark.parametrize("kind", ["labelIds", "labelTrainIds"])
def test_cityscapes_with_either_kind_of_label(tmp_path, kind):
    raw = tmp_path / "raw"
    for city in ("aachen", "bochum"):
        stem = f"{city}_000000_000019"
        save(raw / f"leftImg8bit/val/{city}/{stem}_leftImg8bit.png", picture(1))
        ids = labels(1, [0, *CITYSCAPES_TRAIN]) if kind == "labelIds" else labels(1, [0, 18, 255])
        save(raw / f"gtFine/val/{city}/{stem}_gtFine_{kind}.png", ids)
        save(raw / f"gtFine/val/{city}/{stem}_gtFine_color.png", picture(1))
    shards = pack("cityscapes", raw, tmp_path / "out", "val", size=(12, 8))
    assert sorted(by_key(shards)) == ["aachen_000000_000019", "bochum_000000_000019"]
    truth = np.vectorize(lambda i: CITYSCAPES_TRAIN.get(i, IGNORE))(ids) if kind == "labelIds" else ids
    np.testing.assert_array_equal(label_of(shards, "bochum_000000_000019"), truth)  # whole: val is for scoring
    assert image_of(shards, "bochum_000000_000019").shape == (8, 12, 3)


def test_cityscapes_without_labels_packs_as_images(tmp_path):
    raw = tmp_path / "raw"
    save(raw / "leftImg8bit/train/aachen/aachen_000000_000019_leftImg8bit.png", picture(1))
    shards = pack("cityscapes", raw, tmp_path / "out", size=(12, 8))
    assert shards.fields == ("image.jpg", "json")
    assert shards.label_space is None
    looked = "gtFine/train/{1}/{2}_gtFine_labelIds.png"
    assert f"no labels: none of 1 images has one at {looked}, packed as images alone" in omissions(shards.meta)
    with pytest.raises(DataError, match=r"labelIds\.png: the images have no labels"):
        pack("cityscapes", raw, tmp_path / "out2", labels=True)


def test_folder_takes_any_images_and_a_users_own_recipe_maps_its_ids(tmp_path):
    raw = tmp_path / "raw"
    save(raw / "a.b/x y.png", picture(1))
    save(raw / "z.jpg", picture(2))
    (raw / "notes.txt").write_text("no image")
    assert sorted(by_key(pack("folder", raw, tmp_path / "all", "all"))) == ["a_b-x_y", "z"]
    with pytest.raises(DataError, match=r"no images of folder's split 'train'.*train/images/\*\*"):
        pack("folder", raw, tmp_path / "none")
    save(raw / "train/pictures/1.png", picture(1))
    save(raw / "train/truth/1.png", labels(1, [5, 7, 9]))
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        """
        name: mine
        label_space: {name: two, classes: [way, rest], palette: [[1, 2, 3], [4, 5, 6]]}
        forms: [{images: "{split}/pictures/*.png", labels: "{split}/truth/{1}.png", ids: {5: way, 7: 1, 9: ignore}}]
        splits: {train: {}}
        """
    )
    mine = pack(recipe, raw, tmp_path / "mine")
    truth = np.vectorize({5: 0, 7: 1, 9: 255}.get)(labels(1, [5, 7, 9]))
    np.testing.assert_array_equal(label_of(mine, "1"), truth)
    assert mine.label_space is not None
    assert mine.label_space.classes == ("way", "rest")


@pytest.mark.parametrize("appearance", ["synthetic", "photo"])
def test_streets_are_rendered_while_packing(tmp_path, appearance):
    from cirn_dist.data.streets import render

    options = {"count": 3, "appearance": appearance, "seed": 5}
    shards = pack("streets", None, tmp_path / "out", size=(64, 48), codec="png", options=options)
    key = f"{appearance}-5-0000002"
    assert key in by_key(shards)
    image, label = render(5, 2, 64, 48, appearance=appearance)
    np.testing.assert_array_equal(image_of(shards, key), image)
    np.testing.assert_array_equal(label_of(shards, key), label)
    val = pack("streets", None, tmp_path / "val", "val", size=(64, 48), options={"count": 2})
    assert not set(by_key(val)) & {f"synthetic-0-{index:07d}" for index in range(1000)}


def test_real_camvid_packs(tmp_path):
    raw = Path(__file__).parents[2].parent / "shared/data/camvid"
    if not raw.is_dir():
        pytest.skip("no CamVid beside the checkout")
    shards = pack("camvid", raw, tmp_path / "out", "val", size=(120, 90), options={"list": None})
    assert len(shards) == 101
    assert label_of(shards, "0016E5_07959").shape == (360, 480)
    assert sum(shards.meta["class_pixels"]) + shards.meta["ignored_pixels"] == 101 * 360 * 480
