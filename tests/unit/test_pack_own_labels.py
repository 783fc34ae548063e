"""Labels of one's own: ids and colours as a recipe says them, right or refused in words that help."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rawdata import camvid, labels, picture, save
from shardsets import label_of

from cirn_dist.data.labels import label_space
from cirn_dist.data.pack.pack import pack
from cirn_dist.data.pack.recipes import load_recipe
from cirn_dist.errors import CorruptSample, DataError
from cirn_dist.resources import folder

SPACE = "{name: three, classes: [way, rest, sky], palette: [[128, 64, 128], [0, 0, 0], [70, 130, 180]]}"
PALETTE = np.array([[128, 64, 128], [0, 0, 0], [70, 130, 180]], np.uint8)
TRUTH = labels(3, [0, 1, 2])


def recipe(place: Path, keys: str, space: str = SPACE) -> Path:
    path = place / "mine.yaml"
    path.write_text(
        f"name: mine\nlabel_space: {space}\nsplits: {{train: {{}}}}\n"
        f"forms:\n  - {{images: 'rgb/*.png', labels: 'gt/{{1}}.png', {keys}}}\n"
    )
    save(place / "raw/rgb/a.png", picture(1))
    return path


def packed(place: Path, keys: str, label: np.ndarray | Image.Image, space: str = SPACE, **options) -> np.ndarray:
    path = recipe(place, keys, space)
    (place / "raw/gt").mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(label) if isinstance(label, np.ndarray) else label
    image.save(place / "raw/gt/a.png", options.pop("form", "PNG"), **options)
    return label_of(pack(path, place / "raw", place / "out"), "a")


def test_colours_are_read_by_the_label_spaces_own_palette(tmp_path):
    np.testing.assert_array_equal(packed(tmp_path, "encoding: colour", PALETTE[TRUTH]), TRUTH)


@pytest.mark.parametrize("encoding", ["colour", "index_or_colour"])
def test_colours_are_read_by_a_mapping_of_ones_own(encoding, tmp_path):
    colours = "{way: '#ff0000', rest: [[0, 255, 0], '#00fF01'], sky: [0, 0, 255], ignore: ['#FFFFFF', [9, 9, 9]]}"
    table = np.array([[255, 0, 0], [0, 255, 0], [0, 255, 1], [0, 0, 255], [255, 255, 255], [9, 9, 9]], np.uint8)
    drawn = labels(5, [0, 1, 2, 3, 4, 5])
    truth = np.array([0, 1, 1, 2, 255, 255], np.uint8)[drawn]
    found = packed(tmp_path, f"encoding: {encoding}, colours: {colours}", table[drawn])
    np.testing.assert_array_equal(found, truth)


def test_ignore_alone_adds_to_the_palette(tmp_path):
    image = PALETTE[TRUTH]
    image[:3] = 255
    truth = TRUTH.copy()
    truth[:3] = 255
    np.testing.assert_array_equal(packed(tmp_path, "encoding: colour, colours: {ignore: '#ffffff'}", image), truth)


def test_a_colour_that_no_class_has_is_named_with_its_pixels(tmp_path):
    image = PALETTE[TRUTH]
    image[0, :2] = (1, 2, 3)
    reason = r"gt/a\.png: unknown label colour \(1, 2, 3\) in 2 pixels; say in the recipe's `colours`"
    with pytest.raises(CorruptSample, match=reason):
        packed(tmp_path, "encoding: colour", image)


def test_colours_of_a_palette_png_and_of_an_opaque_alpha_are_read(tmp_path):
    indexed = Image.fromarray(PALETTE[TRUTH]).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    np.testing.assert_array_equal(packed(tmp_path, "encoding: colour", indexed), TRUTH)
    opaque = np.dstack([PALETTE[TRUTH], np.full(TRUTH.shape, 255, np.uint8)])
    (tmp_path / "b").mkdir()
    np.testing.assert_array_equal(packed(tmp_path / "b", "encoding: colour", opaque), TRUTH)


def test_colours_that_are_not_what_was_drawn_are_refused(tmp_path):
    clear = np.dstack([PALETTE[TRUTH], np.where(TRUTH == 1, 0, 255).astype(np.uint8)])
    with pytest.raises(CorruptSample, match=r"a\.png: a label with transparent pixels; write it without an alpha"):
        packed(tmp_path, "encoding: colour", clear)
    with pytest.raises(CorruptSample, match="transparent pixels"):
        packed(tmp_path, "encoding: colour", Image.fromarray(PALETTE[TRUTH]), transparency=(0, 0, 0))
    with pytest.raises(CorruptSample, match=r"a\.png: .*JPEG"):
        packed(tmp_path, "encoding: colour", PALETTE[TRUTH], form="JPEG")
    with pytest.raises(CorruptSample, match=r"a\.png: .*WEBP"):
        packed(tmp_path, "encoding: colour", PALETTE[TRUTH], form="WEBP")


def test_ids_are_read_by_a_mapping_of_ones_own(tmp_path):
    drawn = labels(5, [0, 7, 9, 200, 255])
    truth = np.select([drawn == 7, drawn == 9, drawn == 200], [0, 1, 2], 255)
    found = packed(tmp_path, "ids: {0: ignore, 7: way, 9: 1, '200': sky, 255: 255}", drawn)
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize(
    ("keys", "label", "reason"),
    [
        ("ids: train_ids", labels(1, [0, 3]), r"unknown label id 3; say in the recipe's `ids`"),
        ("ids: {7: way, 8: rest, 9: sky}", labels(1, [7, 6, 5]), r"unknown label id 5, 6; say in the recipe's `ids`"),
        (
            "ids: train_ids",
            PALETTE[TRUTH],
            "a label in colours; this form's labels hold ids; `encoding: colour` reads it",
        ),
        ("ids: train_ids", TRUTH.astype(np.uint16), "16 bits per pixel"),
    ],
)
def test_ones_own_labels_are_not_blamed_on_an_archive(keys, label, reason, tmp_path):
    with pytest.raises(CorruptSample, match=rf"gt/a\.png: {reason}") as caught:
        packed(tmp_path, keys, label)
    assert "archive" not in str(caught.value)


def test_a_published_datasets_broken_file_is_to_be_restored(tmp_path):
    raw = camvid(tmp_path / "raw", 1)
    save(raw / "trainannot/0001TP_006690.png", labels(0, [1, 77]))
    with pytest.raises(CorruptSample, match="unknown label id 77; restore the file from the published archive"):
        pack("camvid", raw, tmp_path / "out")


@pytest.mark.parametrize("place", ["rgb", "gt"])
@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"GIF89a\0\0\0\0"])
def test_an_empty_or_sizeless_file_is_named(place, data, tmp_path):
    path = recipe(tmp_path, "ids: train_ids")
    save(tmp_path / "raw/gt/a.png", TRUTH)
    (tmp_path / "raw" / place / "a.png").write_bytes(data)
    with pytest.raises(CorruptSample, match=rf"{place}/a\.png: "):
        pack(path, tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_into_the_raw_folder(tmp_path):
    path = recipe(tmp_path, "ids: train_ids")
    save(tmp_path / "raw/gt/a.png", TRUTH)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "raw").rglob("*")}
    pack(path, tmp_path / "raw", tmp_path / "out")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "raw").rglob("*")} == before


def test_a_known_map_follows_a_space_that_shares_some_classes(tmp_path):
    space = "{name: two, classes: [road, mine], palette: [[1, 2, 3], [4, 5, 6]]}"
    found = packed(tmp_path, "encoding: colour, colours: cityscapes", label_space("cityscapes19").colour(TRUTH), space)
    np.testing.assert_array_equal(found, np.where(TRUTH == 0, 0, 255))


def test_an_image_too_large_for_the_codec_is_one_line(tmp_path):
    path = recipe(tmp_path, "ids: train_ids")
    Image.new("RGB", (16400, 2)).save(tmp_path / "raw/rgb/a.png")
    with pytest.raises(DataError, match=r"rgb/a\.png: 16400x2 cannot be written as webp .*choose a smaller size"):
        pack(path, tmp_path / "raw", tmp_path / "out", codec="webp", labels=False)


def test_the_recipes_of_the_format_page_are_as_it_says(tmp_path):
    page = (folder("shards") / "FORMAT.md").read_text(encoding="utf-8")
    mine, yard = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "mine.yaml").write_text(mine)
    assert load_recipe(tmp_path / "mine.yaml").space == label_space("cityscapes19")
    (tmp_path / "yard.yaml").write_text(yard)
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 255, 0], [0, 0, 200], [0, 0, 0]], np.uint8)
    drawn = labels(1, [0, 1, 2, 3, 4])
    for split in ("train", "val"):
        save(tmp_path / f"raw/{split}/rgb/0001.jpg", picture(1))
        save(tmp_path / f"raw/{split}/seg/0001.png", colours[drawn])
        shards = pack(tmp_path / "yard.yaml", tmp_path / "raw", tmp_path / split, split, size=(12, 8))
        assert shards.label_space is not None
        assert shards.label_space.classes == ("path", "plant", "machine")
    np.testing.assert_array_equal(label_of(shards, "0001"), np.array([0, 1, 1, 2, 255])[drawn])
