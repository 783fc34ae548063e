from __future__ import annotations

import numpy as np
import pytest

from cirn_dist.data.labels import IGNORE, label_space, mapping
from cirn_dist.data.pack.id_maps import colour_map, id_map
from cirn_dist.errors import ConfigError

CITYSCAPES = (
    "road sidewalk building wall fence pole light sign vegetation terrain sky person rider car truck bus train "
    "motorcycle bicycle"
)


def test_train_ids_of_cityscapes_are_the_published_ones():
    space = label_space("cityscapes19")
    assert " ".join(name.removeprefix("traffic ") for name in space.classes) == CITYSCAPES
    assert space.palette[:3] == ((128, 64, 128), (244, 35, 232), (70, 70, 70))
    assert space.palette[18] == (119, 11, 32)


def test_subsets_are_those_the_tables_average_over():
    space = label_space("cityscapes19")
    assert space.subsets["synthia16"] == (*range(9), *range(10, 14), 15, 17, 18)
    assert space.subsets["synthia13"] == (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18)
    sixteen = label_space("synthia16")
    thirteen = [sixteen.classes[index] for index in sixteen.subsets["synthia13"]]
    assert thirteen == [space.classes[index] for index in space.subsets["synthia13"]]


def test_camvid_has_eleven_classes_in_the_usual_order():
    names = "sky building pole road sidewalk tree sign fence car pedestrian bicyclist"
    assert label_space("camvid11").classes == tuple(names.split())


def test_colour_paints_classes_and_leaves_ignored_pixels_black():
    space = label_space("camvid11")
    painted = space.colour(np.array([[0, 8, IGNORE]]))
    assert painted.dtype == np.uint8
    assert painted.tolist() == [[[128, 128, 128], [64, 0, 128], [0, 0, 0]]]


def test_every_palette_tells_its_classes_apart():
    for name in ("cityscapes19", "synthia16", "camvid11"):
        space = label_space(name)
        assert len(set(space.palette)) == len(space.palette) == space.num_classes


def test_mapping_goes_by_name_and_ignores_what_the_target_lacks():
    table = mapping(label_space("cityscapes19"), label_space("synthia16"))
    expected = {old: new for new, old in enumerate(label_space("cityscapes19").subsets["synthia16"])}
    for old in range(256):
        assert table[old] == expected.get(old, IGNORE)


def test_dataset_ids_map_as_published():
    space = label_space("cityscapes19")
    cityscapes = id_map("cityscapes", space)
    published = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [cityscapes[key] for key in published] == list(range(19))
    assert sorted(cityscapes) == list(range(34))
    assert sum(value == IGNORE for value in cityscapes.values()) == 15
    assert id_map("gta5", space) == {**cityscapes, 34: IGNORE}
    synthia = id_map("synthia", space)
    text = "3:0 4:1 2:2 21:3 5:4 7:5 15:6 9:7 6:8 16:9 1:10 10:11 17:12 8:13 18:14 19:15 20:16 12:17 11:18"
    assert {k: v for k, v in synthia.items() if v != IGNORE} == {
        int(k): int(v) for k, _, v in (pair.partition(":") for pair in text.split())
    }
    assert sorted(synthia) == list(range(23))


def test_an_id_map_follows_the_label_space_it_is_asked_for():
    sixteen = label_space("synthia16")
    synthia = id_map("synthia", sixteen)
    assert synthia[16] == IGNORE  # terrain
    assert sixteen.classes[synthia[8]] == "car"


def test_a_users_map_takes_names_numbers_and_ignore():
    space = label_space("camvid11")
    assert id_map({0: "road", 1: 8, 7: "ignore", 9: 255}, space) == {0: 3, 1: 8, 7: IGNORE, 9: IGNORE}
    with pytest.raises(ConfigError, match="'lorry' is no class of camvid11"):
        id_map({0: "lorry"}, space)
    with pytest.raises(ConfigError, match="unknown id map 'kitti'"):
        id_map("kitti", space)
    with pytest.raises(ConfigError, match="unknown label space 'kitti'"):
        label_space("kitti")


def test_camvids_32_colours_cover_the_11_classes():
    space = label_space("camvid11")
    colours = colour_map("camvid32", space)
    assert len(colours) == 32
    assert set(colours.values()) == {*range(11), IGNORE}
    for index, colour in enumerate(space.palette):
        assert colours[colour] == index
    assert colours[(64, 128, 192)] == space.classes.index("car")  # SUV or pickup truck
    assert colours[(192, 0, 192)] == space.classes.index("bicyclist")  # motorcycle or scooter
