"""Walking raw folders: links, endings, hidden files, odd names; and what is said of files that are not packed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rawdata import labels, picture, save
from shardsets import by_key, contents, image_of, label_of

from cirn_dist.data.pack.pack import pack
from cirn_dist.data.pack.walk import Walks
from cirn_dist.data.shards.info import omissions
from cirn_dist.errors import DataError

SPACE = {"label_space": "camvid11"}


def images(raw: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        save(raw / "train/images" / name, picture(number))
    return raw


def notes(raw: Path, out: Path, **options) -> str:
    return "\n".join(omissions(pack("folder", raw, out, **options).meta))


def test_a_link_to_its_own_folder_or_one_around_it_is_not_followed(tmp_path):
    raw = images(tmp_path / "raw", "a.png", "b.png", "deep/c.png")
    straight = pack("folder", raw, tmp_path / "straight")
    for link, target in (("again", "."), ("up", ".."), ("deep/root", str(raw)), ("loop", "loop")):
        (raw / "train/images" / link).symlink_to(target)
    shards = pack("folder", raw, tmp_path / "out")
    assert shards.fingerprint == straight.fingerprint
    assert "3 links to a folder walked already, first train/images/again" in omissions(shards.meta)[-1]


def test_each_real_folder_is_packed_once_at_its_own_place(tmp_path):
    raw = images(tmp_path / "raw", "zurich/1.png", "ulm/2.png")
    images(tmp_path / "other", "3.png", "in/4.png")
    outside = tmp_path / "other/train/images"
    for link, target in (
        ("aachen", raw / "train/images/zurich"),
        ("bonn", outside),
        ("celle", outside),
        ("d", outside / "in"),
    ):
        (raw / "train/images" / link).symlink_to(target)
    shards = pack("folder", raw, tmp_path / "out")
    assert sorted(by_key(shards)) == ["bonn-3", "bonn-in-4", "ulm-2", "zurich-1"]


def test_a_raw_folder_that_is_a_link_is_walked(tmp_path):
    images(tmp_path / "raw", "a.png")
    (tmp_path / "link").symlink_to("raw")
    (tmp_path / "raw/val").mkdir()
    (tmp_path / "raw/val/images").symlink_to("../train/images")
    assert sorted(by_key(pack("folder", tmp_path / "link", tmp_path / "out"))) == ["a"]
    assert sorted(by_key(pack("folder", tmp_path / "link", tmp_path / "val", "val"))) == ["a"]


def test_endings_match_in_any_case_in_every_pattern(tmp_path):
    raw = tmp_path / "raw"
    ids = labels(1, [7, 8])
    for name, ending in (("00001.PNG", "png"), ("00002.png", "PNG"), ("00003.Png", "pNg")):
        save(raw / "images" / name, picture(1))
        save(raw / f"labels/{name[:5]}.{ending}", ids)
    shards = pack("gta5", raw, tmp_path / "out", size="original")
    assert sorted(by_key(shards)) == ["00001", "00002", "00003"]
    for key in by_key(shards):
        np.testing.assert_array_equal(label_of(shards, key), ids - 7)
    save(raw / "labels/00002.Png", ids)
    with pytest.raises(DataError, match=r"00002\.PNG: beside it lies 00002\.Png: which is the label"):
        pack("gta5", raw, tmp_path / "two")
    save(raw / "labels/00002.png", ids)  # of the very name that was asked for
    assert len(pack("gta5", raw, tmp_path / "three", size="original")) == 3


def test_what_systems_leave_behind_is_no_image(tmp_path):
    raw = images(tmp_path / "raw", "a.png", ".hidden/b.png", "__MACOSX/c.png", "@eaDir/a.png/thumb.png", "._a.png")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (raw / "train/images" / name).write_bytes(b"x")
    shards = pack("folder", raw, tmp_path / "out")
    assert sorted(by_key(shards)) == ["a"]
    assert not any("passed over" in note for note in omissions(shards.meta))


def test_what_is_not_packed_is_counted_by_ending_and_reason(tmp_path, caplog):
    raw = images(tmp_path / "raw", "a.png", "b.gif", "c.GIF", "d.txt.gif")
    (raw / "train/images/readme").write_text("x")
    for name in ("a.png", "gone.png", "sub/gone.png"):
        save(raw / "train/labels" / name, labels(1, [0, 1]))
    save(raw / "images/train/old.png", picture(1))
    shards = pack("folder", raw, tmp_path / "out", options=SPACE)
    said = (
        "passed over: 1 .png (of the form images/train/**.*); 3 .gif, 1 without an ending (not read as images); "
        "2 labels without an image, first train/labels/gone.png"
    )
    assert omissions(shards.meta) == (said,)
    assert said in caplog.text
    assert "labels without" not in notes(raw, tmp_path / "alone", labels=False)


def test_other_endings_than_the_patterns_are_counted_and_named_when_there_are_no_images(tmp_path):
    raw = tmp_path / "raw"
    for number in range(3):
        save(raw / f"images/{number}.jpg", picture(number))
    with pytest.raises(
        DataError, match=r"no images of gta5's .*images/\*\.png; beside them lie 3 \.jpg, first images/0"
    ):
        pack("gta5", raw, tmp_path / "none", labels=False)
    save(raw / "images/3.png", picture(3))
    assert "passed over: 3 .jpg (not images/*.png)" in "\n".join(
        omissions(pack("gta5", raw, tmp_path / "out", labels=False).meta)
    )


def test_images_that_pillow_reads_exactly_are_images(tmp_path):
    raw = images(tmp_path / "raw", "a.ppm", "b.bmp", "c.tiff", "d.pgm")
    grey = np.asarray(Image.fromarray(picture(3)).convert("L"))
    save(raw / "train/images/d.pgm", grey)
    Image.fromarray(picture(5)).save(raw / "train/images/e.jfif", "JPEG", quality=100)
    shards = pack("folder", raw, tmp_path / "out", codec="png")
    for number, key in enumerate("abc"):
        np.testing.assert_array_equal(image_of(shards, key), picture(number))
    np.testing.assert_array_equal(image_of(shards, "d"), grey[..., None].repeat(3, -1))
    np.testing.assert_array_equal(image_of(shards, "e"), np.asarray(Image.open(raw / "train/images/e.jfif")))


def test_labels_that_lie_beside_their_images_are_no_images(tmp_path):
    recipe = tmp_path / "beside.yaml"
    recipe.write_text(
        "name: beside\nlabel_space: camvid11\nsplits: {train: {}}\nforms: [{images: '*.png', labels: '{1}_L.png'}]"
    )
    for key in "ab":
        save(tmp_path / f"raw/{key}.png", picture(1))
        save(tmp_path / f"raw/{key}_L.png", labels(1, [0, 1]))
    for wanted in (None, False):
        shards = pack(recipe, tmp_path / "raw", tmp_path / f"out{wanted}", labels=wanted)
        assert sorted(by_key(shards)) == ["a", "b"]
        assert omissions(shards.meta) == ()
    recipe.write_text(recipe.read_text().replace("_L", ""))
    with pytest.raises(DataError, match=r"a\.png: `labels: \{1\}\.png` names the image itself"):
        pack(recipe, tmp_path / "raw", tmp_path / "itself")


def test_names_with_spaces_marks_and_other_scripts(tmp_path):
    names = ["my image.png", "[1] (a)+b$.png", "Straße é.png", "日本.png", "line\nbreak.png", "UPPER.png", "upper2.png"]
    raw = images(tmp_path / "raw", *names)
    for name in names:
        save(raw / "train/labels" / name, labels(len(name), [0, 1]))
    shards = pack("folder", raw, tmp_path / "out", codec="png", options=SPACE)
    keys = {name: name[:-4].replace(" ", "_").replace("\n", "_") for name in names}
    assert sorted(by_key(shards)) == sorted(keys.values())
    for number, (name, key) in enumerate(keys.items()):
        np.testing.assert_array_equal(image_of(shards, key), picture(number))
        np.testing.assert_array_equal(label_of(shards, key), labels(len(name), [0, 1]))


def test_a_pattern_is_read_literally_but_for_its_stars(tmp_path):
    save(tmp_path / "raw/[a]/x.png", picture(1))
    save(tmp_path / "raw/a/y.png", picture(1))
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\nsplits: {train: {}}\nforms: [{images: '[a]/*.png'}]")
    assert sorted(by_key(pack(recipe, tmp_path / "raw", tmp_path / "out"))) == ["x"]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a b.png", "a.b.png"), r"two images have the key 'a_b': .*a b\.png and .*a\.b\.png; rename one"),
        (("c/a.png", "c-a.png"), r"two images have the key 'c-a'"),
        (("a.png", "a.PNG"), "two images have the key 'a'"),
    ],
)
def test_images_whose_keys_collide_are_named(names, reason, tmp_path):
    with pytest.raises(DataError, match=reason):
        pack("folder", images(tmp_path / "raw", *names), tmp_path / "out")


def test_names_that_cannot_be_kept_are_refused(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: r\nsplits: {train: {}}\nforms: [{images: 'frame*.png'}]")
    save(tmp_path / "raw/frame.png", picture(1))
    with pytest.raises(DataError, match=r"frame\.png: the recipe's `key` gives this image no name"):
        pack(recipe, tmp_path / "raw", tmp_path / "out")
    raw = images(tmp_path / "raw", "a.png")
    os.rename(raw / "train/images/a.png", os.fsencode(raw / "train/images") + b"/caf\xe9.png")
    with pytest.raises(DataError, match="is not UTF-8; rename it") as caught:
        pack("folder", raw, tmp_path / "out")
    str(caught.value).encode()


def test_broken_links_are_named_and_pipes_are_not_waited_for(tmp_path):
    raw = images(tmp_path / "raw", "a.png")
    os.mkfifo(raw / "train/images/pipe.png")
    assert len(pack("folder", raw, tmp_path / "out")) == 1
    (raw / "train/images/gone.png").symlink_to("nowhere.png")
    with pytest.raises(DataError, match=r"gone\.png: cannot be read \(No such file"):
        pack("folder", raw, tmp_path / "out2")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    raw = images(tmp_path / "raw", "a.png", "locked/b.png")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr("cirn_dist.data.pack.walk.os.scandir", scandir)
    with pytest.raises(DataError, match="locked: cannot be listed"):
        pack("folder", raw, tmp_path / "out")


def test_a_set_packed_into_the_raw_folder_is_no_part_of_it(tmp_path):
    raw = tmp_path / "raw"
    save(raw / "a.png", picture(1))
    first = pack("folder", raw, raw / "out", "all")
    second = pack("folder", raw, tmp_path / "out2", "all")
    assert contents(first.path) == contents(second.path)


def test_a_folder_is_walked_once_for_all_forms(tmp_path, monkeypatch):
    raw = images(tmp_path / "raw", "a.png")
    walks, seen, real = Walks(), [], os.scandir
    monkeypatch.setattr("cirn_dist.data.pack.walk.os.scandir", lambda path: (seen.append(path), real(path))[1])
    assert walks.files(raw) == walks.files(raw) == [raw / "train/images/a.png"]
    assert len(seen) == 3
